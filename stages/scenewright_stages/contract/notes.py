"""Notes on what an input holds and a job does not use: each name with the reason. Pure functions on names.

Listers and readers collect reasons by name; the note is one sentence. Files that only describe the input for people,
such as a README or a licence, need no note.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from scenewright_stages.contract.formats import PICTURE_ENDINGS, UNREAD_PICTURES, VIDEO_ENDINGS

NAMED = 4
"""Names that a note gives for each reason; the rest are counted."""
_DOCUMENTS = ("license", "licence", "readme", "copying", "notice")
_TEXTS = (".md", ".txt", ".pdf", ".html", ".rst", ".log")


def found_and_not_used(left: Mapping[str, str]) -> str:
    """One sentence that names what was left, by reason; empty if nothing was.

    Args:
        left: reason by name of a file or key.
    """
    by_reason: dict[str, list[str]] = {}
    for name, reason in left.items():
        by_reason.setdefault(reason, []).append(name)
    parts = [f"{_named(names)} ({reason})" for reason, names in by_reason.items()]
    return f"found and not used: {'; '.join(parts)}" if parts else ""


def needs_no_note(key: str) -> bool:
    """Whether a file only describes the input for people, or is hidden."""
    path = PurePosixPath(key)
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return hidden or path.name.lower().startswith(_DOCUMENTS) or path.name in ("Thumbs.db", "desktop.ini")


def is_unread_picture(key: str) -> bool:
    """Whether a file is, by its name, a picture or video that no pipeline reads as one of many in a folder."""
    return key.lower().endswith(UNREAD_PICTURES)


def reason_for(key: str, otherwise: str) -> str:
    """Why a file is not used that nobody claimed.

    Args:
        key: the file.
        otherwise: the reason for a picture of a format that is read.
    """
    name = key.lower()
    if name.endswith(UNREAD_PICTURES):
        return f"pictures of this format are not read: convert them to one of {' '.join(PICTURE_ENDINGS)}"
    if name.endswith(VIDEO_ENDINGS):
        return "a video is a capture of its own: name it as the input of reconstruct"
    if name.endswith(PICTURE_ENDINGS):
        return otherwise
    if name.endswith((".npy", ".npz")):
        return "arrays are not read: save them as pictures"
    return "text for people" if name.endswith(_TEXTS) else "of no kind that is read here"


def _named(names: list[str]) -> str:
    shown = ", ".join(names[:NAMED])
    return shown if len(names) <= NAMED else f"{shown} and {len(names) - NAMED} more"
