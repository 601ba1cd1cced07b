"""Lists photographs and videos without poses: a sample per folder of photographs, and one per video.

Photographs in ``<folder>/images/`` belong to ``<folder>``. Their roles are always ``images/<name>``, as in a capture
with poses; a mask keeps its path, and a video has the role ``video/<name>``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import PurePosixPath

from scenewright_stages.contract.formats import VIDEO_ENDINGS
from scenewright_stages.contract.inputs import InputView, Listed
from scenewright_stages.contract.samples import sample_id_from
from scenewright_stages.vision.places.captures.accounting import Account
from scenewright_stages.vision.places.captures.camera_files import is_image
from scenewright_stages.vision.places.captures.capture import MINIMUM_VIEWS
from scenewright_stages.vision.places.captures.masks import is_mask, mask_beside, unmasked_note
from scenewright_stages.vision.places.captures.names import named

AUXILIARY = "~"
"""Begins the role of a file that is no photograph although it may be a picture, such as a mask."""
VIDEO = "video/"
"""Begins the role of a video."""


def list_bare(view: InputView) -> list[Listed] | None:
    """The folders of photographs and the videos of an input; None if it has neither."""
    keys = [view.single] if view.single else view.keys
    folders = {} if view.single else _folders(keys)
    videos = [key for key in sorted(keys) if key.lower().endswith(VIDEO_ENDINGS)]
    names = sample_names({place: _named_path(view.uri, place) for place in [*folders, *videos]})
    found = [
        _photographs(folder, names[folder], folders[folder], view.keys, [each for each in names if each != folder])
        for folder in sorted(folders)
    ]
    return [*found, *(_video(key, names[key]) for key in videos)] or None


def sample_names(paths: Mapping[str, PurePosixPath]) -> dict[str, str]:
    """The name of each capture: its path's last component, prefixed by its parents' if two would be equal."""
    found: dict[str, str] = {}
    for parts in range(1, max((len(path.parts) for path in paths.values()), default=0) + 1):
        names = {place: "_".join(paths[place].parts[-parts:]) for place in paths if place not in found}
        times = Counter(names.values())
        found |= {place: sample_id_from(name) for place, name in names.items() if times[name] == 1}
    return found


def _named_path(uri: str, place: str) -> PurePosixPath:
    """The path that names a folder of photographs or a video."""
    path = PurePosixPath((place or uri).rstrip("/"))
    if path.name.lower().endswith(VIDEO_ENDINGS):
        return path.with_suffix("")
    return path.parent if path.name == "images" else path


def _folders(keys: Collection[str]) -> dict[str, list[str]]:
    """Keys of photographs by folder, with a trailing ``/``; an ``images/`` folder counts as its parent."""
    direct: dict[str, list[str]] = {}
    for key in sorted(keys):
        if is_image(key) and not is_mask(key):
            direct.setdefault(key.removesuffix(PurePosixPath(key).name), []).append(key)
    found = {folder.removesuffix("images/"): own for folder, own in direct.items() if _ends_in_images(folder)}
    others = {folder: own for folder, own in direct.items() if not any(folder.startswith(each) for each in found)}
    return found | others


def _ends_in_images(folder: str) -> bool:
    return PurePosixPath(folder).name == "images"


def _photographs(folder: str, name: str, keys: list[str], every: Collection[str], others: Collection[str]) -> Listed:
    """The sample of a folder of photographs.

    Args:
        folder: with a trailing ``/``.
        name: id of the sample.
        keys: of its photographs.
        every: all keys of the input.
        others: folders and videos that are samples of their own.
    """
    facts = {"scene": name, "folder": folder}
    inside = [key for key in every if key.startswith(folder)]
    inside = [key for key in inside if not any(key.startswith(each) for each in others if each.startswith(folder))]
    account = Account()
    files = {f"images/{PurePosixPath(key).name}": key for key in keys}
    below = {key.removeprefix(folder) for key in inside}
    masks = {key: mask_beside(key.removeprefix(folder), below) for key in keys}
    for key, mask in masks.items():
        if mask:
            files[AUXILIARY + _mask_role(key.removeprefix(folder), mask)] = folder + mask
    account.use(*(key.removeprefix(folder) for key in files.values()))
    account.finish(sorted(below), "not in the folder of the photographs")
    notes = (*((note,) if (note := account.note()) else ()), *unmasked_note(masks))
    if len(keys) < MINIMUM_VIEWS:
        message = (
            f"{len(keys)} photographs in {folder or 'the folder'} ({named(keys)}), at least {MINIMUM_VIEWS} are needed"
        )
        if "images" in PurePosixPath(folder).parts:
            message += "; folders in images/ are those of fixed cameras, which cameras.json describes"
        return Listed(
            name, attributes=facts, rejected=("TooFewViews", message), notes=notes, accounted=frozenset(inside)
        )
    about = {**facts, "mark": "", "time": ""}
    return Listed(name, files=files, attributes=about, notes=notes, accounted=frozenset(inside))


def _mask_role(key: str, mask: str) -> str:
    """Where a mask lies once its photograph is ``images/<name>``; both are paths below the folder."""
    beside = PurePosixPath(key).parent == PurePosixPath(mask).parent
    return f"images/{PurePosixPath(mask).name}" if beside else mask


def _video(key: str, name: str) -> Listed:
    facts = {"scene": name, "folder": "", "mark": "", "time": ""}
    files = {f"{VIDEO}{PurePosixPath(key).name}": key}
    return Listed(name, files=files, attributes=facts, accounted=frozenset({key}))
