"""Lists the worlds of an input: images, folders of views, entries of a curated set, or work folders."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from scenewright_stages.contract.formats import PICTURE_ENDINGS
from scenewright_stages.contract.inputs import InputView, Listed
from scenewright_stages.contract.params import merged
from scenewright_stages.contract.samples import SOURCE, Sample, sample_id_from
from scenewright_stages.worldexplorer.params import METRES_PER_UNIT, MOTION_ORDER

VIEWS = 8
IMAGE_SUFFIXES = PICTURE_ENDINGS
DEPTH = "depth"
SIDECARS = {DEPTH: (".depth.npy", ".depth.npz")}
MOTIONS = "motions"
"""Attribute of worlds whose entry wants some of the motions only."""
OPPOSITE = "opposite"
"""Role of the photograph that shows what lies behind the camera of the first."""
_CURATED = "metadata.json"
CAMERAS, WORK_FOLDER = "transforms.json", "img2trajvid"
_WORK_FOLDER = re.compile(r"(?:.*/)?img2trajvid/")
_ENTRY = re.compile(r"(?:^|/)(?P<variant>[A-Za-z_]\w*)/index_(?P<index>\d{4,})$")
_SCENE = re.compile(r"(?:^|/)(?:scenes/[^/]+/)?img2trajvid/$")
_VIEW = re.compile(r"(?P<folder>(?:.*/)?)00(?P<number>[0-7])(?P<ending>\.[a-z]+|\.depth\.np[yz])")


def list_worlds(view: InputView) -> Iterable[Listed] | None:
    """Work folders, else folders of eight views; None for images and curated sets, which are listed as usual."""
    if _CURATED in view.keys:
        return None
    return list_work_folders(view) or list_views(view)


def list_views(view: InputView) -> Iterable[Listed] | None:
    """A sample per folder of views; None if there is no such folder.

    A folder of views holds 000 to 007, or only 000 and 004 (ahead and behind). A folder with most of the eight and no
    other images counts too; the stage that reads it reports what is missing.
    """
    name = world_name(view.uri)
    listed = []
    for folder, files in sorted(views_in(view.keys).items()):
        roles = _roles(folder, files, view.keys)
        if roles:
            listed.append(Listed(sample_id_from(folder.rstrip("/") or name), roles))
    return listed or None


def _roles(folder: str, files: Mapping[str, str], keys: Iterable[str]) -> Mapping[str, str]:
    """The files of a folder of views by role; empty if it is not one."""
    views = [role for role in files if role.startswith("view_")]
    if len(views) == VIEWS:
        return files
    pictures = [
        key
        for key in keys
        if key.startswith(folder) and "/" not in key[len(folder) :] and key.lower().endswith(IMAGE_SUFFIXES)
    ]
    if len(pictures) > len(views):
        return {}
    if sorted(views) == ["view_0", f"view_{VIEWS // 2}"]:
        return {SOURCE: files["view_0"], OPPOSITE: files[f"view_{VIEWS // 2}"]}
    return files if len(views) > VIEWS // 2 else {}


def views_in(keys: Iterable[str]) -> dict[str, dict[str, str]]:
    """Keys of images 000 to 007 and their depth maps, by folder (with a trailing ``/``) and role."""
    folders: dict[str, dict[str, str]] = {}
    for key in keys:
        match = _VIEW.fullmatch(key)
        if match is None:
            continue
        role = DEPTH if match["ending"].startswith(".depth") else "view"
        if role == DEPTH or match["ending"] in IMAGE_SUFFIXES:
            folders.setdefault(match["folder"], {}).setdefault(f"{role}_{match['number']}", key)
    return folders


def brings_views(sample: Sample) -> bool:
    """Whether the input brings the views of a world, so that the job need not make them."""
    return any(role.startswith("view_") for role in sample.files)


def missing_views(files: Collection[str]) -> list[str]:
    """Which of the eight views a folder lacks."""
    return [f"{number:03d}" for number in range(VIEWS) if f"view_{number}" not in files]


def list_work_folders(view: InputView) -> list[Listed]:
    """A sample per world with finished paths; its capture counts as the output of stage `points`."""
    itself = view.uri.rstrip("/").endswith(f"/{WORK_FOLDER}")
    folders = [""] if itself else list(dict.fromkeys(m[0] for key in view.keys if (m := _WORK_FOLDER.match(key))))
    worlds: dict[str, list[str]] = {}
    for folder in folders:
        worlds.setdefault(_SCENE.sub("", folder), []).append(folder)
    return [_work_folder(view, world, found) for world, found in sorted(worlds.items())]


def world_name(uri: str) -> str:
    """The name of a world whose folder is the input itself."""
    return _SCENE.sub("", f"{uri.rstrip('/')}/").rstrip("/").rpartition("/")[2] or "world"


def _work_folder(view: InputView, world: str, folders: list[str]) -> Listed:
    entry = _ENTRY.search(world)
    identity = entry[0].removeprefix("/") if entry else sample_id_from(world or world_name(view.uri))
    attributes = {"variant": entry["variant"], "index": int(entry["index"])} if entry else {}
    listed = Listed(identity, attributes=attributes)
    if len(folders) > 1:
        several = f"it holds several work folders, {', '.join(folders)}: name one of them in spec.input.uri"
        return replace(listed, rejected=("SeveralWorkFolders", several))
    if f"{folders[0]}{CAMERAS}" not in view.keys:
        bare = f"{folders[0] or view.uri} has no {CAMERAS}: its paths were not finished; make them, or name another"
        return replace(listed, rejected=("WorkFolderUnfinished", bare))
    return replace(listed, provided={"points": {"capture": folders[0] or f"{view.uri.rstrip('/')}/"}})


def read_entry(listed: Listed, entry: Mapping[str, Any], keys: Collection[str]) -> Listed:
    """Reads the fields of a curated entry besides its image; its ``parameters`` take precedence.

    ``scaffold`` sets texts and mode, or names a folder of eight views (``scaffold_path``). ``scene_type`` sets how far
    paths reach. ``expansion`` sets the motions, the scene scale for SEVA and the number of images for VGGT.
    """
    overrides: dict[str, Any] = {"scaffold": {}, "expansion": {}, "points": {}}
    try:
        overrides["scaffold"] |= _texts(entry)
        overrides["points"] |= _measured_pictures(entry)
        listed = _with_motions(listed, entry, overrides["expansion"])
    except ValueError as problem:
        return replace(listed, rejected=("BadEntry", str(problem)))
    if isinstance(folder := _part(entry, "scaffold").get("scaffold_path"), str):
        place = f"{folder.removeprefix('./').rstrip('/')}/"
        files = views_in(keys).get(place, {})
        if missing := missing_views(files):
            said = f"scaffold.scaffold_path {folder!r} has no {', '.join(missing)}: it takes the pictures 000 to 007"
            return replace(listed, rejected=("ScaffoldMissing", said))
        # The eight views replace the image, which may be missing.
        listed = _without_picture(replace(listed, files=files))
    elif overrides["scaffold"].keys() & {"theme", "prompts"} and not _names_picture(listed, entry):
        # A text may replace it too; the first stage checks whether the job has a model for that.
        listed = _without_picture(listed)
    else:
        listed = _with_opposite(listed, entry, keys)
    stated = {name: block for name, block in overrides.items() if block}
    return replace(listed, overrides=merged(stated, listed.overrides))


def _texts(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Mode and texts of an entry as overrides. Four prompts are used if ``custom`` is set or there is no theme.

    Raises:
        ValueError: they are inconsistent.
    """
    scaffold, theme = _part(entry, "scaffold"), entry.get("theme")
    found: dict[str, Any] = {name: scaffold[name] for name in ("mode",) if name in scaffold}
    prompts = scaffold.get("prompts")
    if scaffold.get("custom") and not _four_texts(prompts):
        raise ValueError(f"scaffold.prompts {prompts!r}: with scaffold.custom they are four texts")
    if _four_texts(prompts) and (scaffold.get("custom") or not theme):
        found["prompts"] = prompts
    elif isinstance(theme, str) and theme:
        found |= {"theme": theme, "prompts": []}
    return found


def _four_texts(prompts: Any) -> bool:
    return isinstance(prompts, list) and len(prompts) == 4 and all(isinstance(each, str) for each in prompts)


def _with_motions(listed: Listed, entry: Mapping[str, Any], overrides: dict[str, Any]) -> Listed:
    """Adds the motions that an entry selects, and overrides of the expansion.

    Raises:
        ValueError: the motions are in the wrong order.
    """
    said = _part(entry, "expansion")
    if entry.get("scene_type") in METRES_PER_UNIT:
        overrides["scale"] = entry["scene_type"]
    factor = said.get("translation_scaling_factor")
    if isinstance(factor, int | float) and not isinstance(factor, bool):
        overrides["translationScale"] = float(factor)
    order = said.get("trajectory_order")
    if order is None:
        return listed
    if not isinstance(order, list) or order != [motion for motion in MOTION_ORDER if motion in order]:
        allowed = f"keep the order {', '.join(MOTION_ORDER)}; later motions see what earlier ones added"
        raise ValueError(f"expansion.trajectory_order {order!r}: {allowed}")
    return replace(listed, attributes={**listed.attributes, MOTIONS: order})


def _measured_pictures(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The entry's number of images for VGGT, as overrides of the points.

    Raises:
        ValueError: it is not a number.
    """
    count = _part(entry, "expansion").get("num_images_for_vggt")
    if count is None:
        return {}
    if not isinstance(count, int) or isinstance(count, bool):
        raise ValueError(f"expansion.num_images_for_vggt {count!r}: it is a whole number, as points.references")
    return {"references": count}


def _without_picture(listed: Listed) -> Listed:
    """Clears a rejection caused by a missing image."""
    missing = listed.rejected is not None and listed.rejected[0] == "InputMissing"
    return replace(listed, rejected=None) if missing else listed


def _names_picture(listed: Listed, entry: Mapping[str, Any]) -> bool:
    """Whether the entry names an image, or has one by convention."""
    named = _part(entry, "scaffold").get("input_image") or entry.get("input_image")
    return bool(listed.files or named) or listed.attributes.get("variant") != "default"


def _with_opposite(listed: Listed, entry: Mapping[str, Any], keys: Collection[str]) -> Listed:
    """Adds the photograph of the view behind: the one that the entry names, or ``views_180/<id>_180.*``."""
    named = _part(entry, "scaffold").get("opposite_image")
    wanted = [named] if isinstance(named, str) else [f"views_180/{listed.id}_180{suffix}" for suffix in IMAGE_SUFFIXES]
    found = next((key for key in (each.removeprefix("./") for each in wanted) if key in keys), None)
    if found is not None:
        return replace(listed, files={**listed.files, OPPOSITE: found})
    if isinstance(named, str):
        said = f"scaffold.opposite_image {named!r} is not in the folder"
        return replace(listed, rejected=("InputMissing", said))
    return listed


def _part(entry: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = entry.get(name)
    return part if isinstance(part, dict) else {}
