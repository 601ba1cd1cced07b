"""Finds the mask of a photograph in a capture, by its name.

Readers fill `Shot.mask` from keys such as ``mask_path``; `finding.read_capture` adds files found by name. Every
convention that is read (COLMAP, nerfstudio, RealityScan, OpenMVS) leaves out what is black. `pictures` reads the masks
together with the photographs. Everything later sees one boolean mask a view: True is valid.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import PurePosixPath

from scenewright_stages.vision.places.captures.names import by_plain_name, named, plain

MASK_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
_MARK = ".mask"
"""`photo.mask.png` is the mask of `photo.jpg` (RealityScan, OpenMVS)."""


def is_mask(path: str) -> bool:
    """Whether a file is a mask by its name alone: `<name>.mask.png`, or an image inside a folder ``masks/``.

    A folder ``images/`` inside ``masks/`` holds photographs: the capture itself is called masks.
    """
    name = PurePosixPath(path)
    if name.suffix.lower() not in MASK_ENDINGS:
        return False
    folders = name.parts[:-1]
    innermost = next((each for each in reversed(list(map(str.lower, folders))) if each in ("masks", "images")), "")
    return name.stem.lower().endswith(_MARK) or innermost == "masks"


def mask_beside(picture: str, keys: Collection[str]) -> str:
    """The path of the mask of a photograph that lies beside it or in ``masks/``; empty without one.

    For ``images/a/b.jpg`` these are ``masks/a/b.jpg.png`` (COLMAP), ``masks/a/b.png``, ``images/a/b.mask.png`` and
    ``images/a/b.jpg.mask.png``; other endings count too.

    Args:
        picture: path of the photograph below the capture's folder.
        keys: paths of all files of the capture.
    """
    exact = next((each for each in _candidates(picture) if each in keys), None)
    if exact is None:
        others = by_plain_name(frozenset(filter(is_mask, keys)))
        exact = next((found for each in _candidates(picture) if (found := others.get(plain(each)))), None)
    return exact or ""


def unmasked_note(masks: Mapping[str, str]) -> list[str]:
    """Names the photographs without a mask, if others have one; `masks` maps photographs to masks or nothing."""
    bare = [picture for picture, mask in masks.items() if not mask]
    if not 0 < len(bare) < len(masks):
        return []
    return [f"{len(bare)} of {len(masks)} photographs have no mask, and all their pixels count: {named(bare, 4)}"]


def _candidates(picture: str) -> Iterator[str]:
    path = PurePosixPath(picture)
    inside = PurePosixPath(*path.parts[1:]) if len(path.parts) > 1 else path
    for folder in (PurePosixPath("masks"), PurePosixPath("masks", *path.parts[:-1])):
        here = folder / inside.parent if folder.parts == ("masks",) else folder
        for stem in (path.name, path.stem, path.stem + _MARK):
            yield from ((here / (stem + ending)).as_posix() for ending in MASK_ENDINGS)
    for stem in (path.name, path.stem):
        yield from ((path.parent / (stem + _MARK + ending)).as_posix() for ending in MASK_ENDINGS)
