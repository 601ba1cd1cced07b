"""What counts as a world: a picture, a folder of eight views, an entry of a curated set, or a work folder."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from scenewright_stages.contract.inputs import InputView, Listed
from scenewright_stages.contract.params import merged
from scenewright_stages.contract.samples import sample_id_from
from scenewright_stages.worldexplorer.params import METRES_PER_UNIT, MOTION_ORDER

VIEWS = 8
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")
DEPTH = "depth"
SIDECARS = {DEPTH: (".depth.npy", ".depth.npz")}
MOTIONS = "motions"
"""Attribute of worlds whose entry wants some of the motions only."""
_CURATED = "metadata.json"
CAMERAS, WORK_FOLDER = "transforms.json", "img2trajvid"
_WORK_FOLDER = re.compile(r"(?:.*/)?img2trajvid/")
_ENTRY = re.compile(r"(?:^|/)(?P<variant>[A-Za-z_]\w*)/index_(?P<index>\d{4,})$")
_SCENE = re.compile(r"(?:^|/)(?:scenes/[^/]+/)?img2trajvid/$")
_VIEW = re.compile(r"(?P<folder>(?:.*/)?)00(?P<number>[0-7])(?P<ending>\.[a-z]+|\.depth\.np[yz])")


def list_worlds(view: InputView) -> Iterable[Listed] | None:
    """Work folders, else folders of eight views; None for pictures and curated sets, which are listed as usual."""
    if _CURATED in view.keys:
        return None
    return list_work_folders(view) or list_views(view)


def list_views(view: InputView) -> Iterable[Listed] | None:
    """A sample for each folder that holds pictures 000 to 007; None when there is no such folder."""
    complete = {folder: files for folder, files in sorted(views_in(view.keys).items()) if not missing_views(files)}
    if not complete:
        return None
    name = world_name(view.uri)
    return [Listed(sample_id_from(folder.rstrip("/") or name), files) for folder, files in complete.items()]


def views_in(keys: Iterable[str]) -> dict[str, dict[str, str]]:
    """Pictures 000 to 007 and their depth maps, key by role, of each folder (with a trailing ``/``) that has some."""
    folders: dict[str, dict[str, str]] = {}
    for key in keys:
        match = _VIEW.fullmatch(key)
        if match is None:
            continue
        role = DEPTH if match["ending"].startswith(".depth") else "view"
        if role == DEPTH or match["ending"] in IMAGE_SUFFIXES:
            folders.setdefault(match["folder"], {}).setdefault(f"{role}_{match['number']}", key)
    return folders


def missing_views(files: Collection[str]) -> list[str]:
    """Which of the eight views a folder lacks."""
    return [f"{number:03d}" for number in range(VIEWS) if f"view_{number}" not in files]


def list_work_folders(view: InputView) -> list[Listed]:
    """A sample for each world whose paths are made; its capture counts as made by the stage `points`."""
    itself = view.uri.rstrip("/").endswith(f"/{WORK_FOLDER}")
    folders = [""] if itself else list(dict.fromkeys(m[0] for key in view.keys if (m := _WORK_FOLDER.match(key))))
    worlds: dict[str, list[str]] = {}
    for folder in folders:
        worlds.setdefault(_SCENE.sub("", folder), []).append(folder)
    return [_work_folder(view, world, found) for world, found in sorted(worlds.items())]


def world_name(uri: str) -> str:
    """What a world is called whose folder is the input itself."""
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
    """What a curated entry says of its world beside its picture.

    ``scaffold.scaffold_path`` names a folder of eight views, ``scene_type`` how far paths reach, and
    ``expansion.trajectory_order`` which motions are made; what its ``parameters`` say wins.
    """
    overrides: dict[str, Any] = {}
    if entry.get("scene_type") in METRES_PER_UNIT:
        overrides["expansion"] = {"scale": entry["scene_type"]}
    order = _part(entry, "expansion").get("trajectory_order")
    if order is not None:
        if not isinstance(order, list) or order != [motion for motion in MOTION_ORDER if motion in order]:
            said = f"expansion.trajectory_order {order!r}: keep the order {', '.join(MOTION_ORDER)}; later motions see "
            return replace(listed, rejected=("BadEntry", f"{said}what earlier ones added"))
        listed = replace(listed, attributes={**listed.attributes, MOTIONS: order})
    folder = _part(entry, "scaffold").get("scaffold_path")
    if isinstance(folder, str):
        place = f"{folder.removeprefix('./').rstrip('/')}/"
        files = views_in(keys).get(place, {})
        if missing := missing_views(files):
            said = f"scaffold.scaffold_path {folder!r} has no {', '.join(missing)}: it takes the pictures 000 to 007"
            return replace(listed, rejected=("ScaffoldMissing", said))
        overrides["scaffold"] = {"method": "provided"}
        # The eight views stand for the picture, which need not be there.
        without_picture = listed.rejected is not None and listed.rejected[0] == "InputMissing"
        listed = replace(listed, files=files, rejected=None if without_picture else listed.rejected)
    return replace(listed, overrides=merged(overrides, listed.overrides))


def _part(entry: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = entry.get(name)
    return part if isinstance(part, dict) else {}
