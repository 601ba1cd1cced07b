"""Expands one object into views, scenes, variations and degraded copies, with their names, seeds and splits.

All functions are pure functions of the parameters and the object, so the operator, the index and every stage agree on
the whole family in advance. Adding a prompt adds its scenes and changes nothing else.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

from scenewright_stages.contract.samples import Child, Sample
from scenewright_stages.reference.params import (
    EDITORS,
    LARGEST_TRUE_ANGLE,
    CameraDistance,
    CameraElevation,
    CameraView,
    Place,
    ReferenceObjectParams,
)

Split = Literal["train", "val", "test", "mixed"]
MIXED: Split = "mixed"
"""Of an image whose scene and view belong to different splits."""
SEEDS = 100_000
_OVERDUE = 0.8
"""Groups by which a split may lag behind its share."""


@dataclass(frozen=True)
class View:
    """One side of the object.

    Attributes:
        number: from 0.
        yaw, elevation: degrees; positive shows more of the right side, and more from above.
        file: name of its image.
        pseudo: whether it shows sides that the photo has not seen.
        distance: camera distance of a painted view.
    """

    number: int
    yaw: float
    elevation: float
    file: str
    pseudo: bool = False
    distance: CameraDistance = "medium"

    @property
    def part(self) -> str:
        """Name of its cut-out."""
        return self.file.removesuffix(".png") + ".npz"


_AZIMUTHS: dict[CameraView, float] = {
    "front": 0.0,
    "front-right": 45.0,
    "right": 90.0,
    "back-right": 135.0,
    "back": 180.0,
    "back-left": -135.0,
    "left": -90.0,
    "front-left": -45.0,
}
_HEIGHTS: dict[CameraElevation, float] = {"low-angle": -30.0, "eye-level": 0.0, "elevated": 30.0, "high-angle": 60.0}
_ZERO123_VIEWS = ((30.0, 20.0), (90.0, -10.0), (150.0, 20.0), (-150.0, -10.0), (-90.0, 20.0), (-30.0, -10.0))
"""Turn and height of the six views of Zero123++ 1.2, which are fixed."""


def views(params: ReferenceObjectParams) -> list[View]:
    """The views in order."""
    block = params.perspectives
    if block.backend == "qwen-multicamera":
        cameras = product(block.camera_views, block.camera_elevations, block.camera_distances)
        return [
            View(number, _AZIMUTHS[side], _HEIGHTS[height], _view_file(number, side, height), distance=distance)
            for number, (side, height, distance) in enumerate(cameras)
        ]
    if block.backend == "zero123":
        return [
            View(number, yaw, elevation, _view_file(number, _side(yaw), _height(elevation)))
            for number, (yaw, elevation) in enumerate(_ZERO123_VIEWS)
        ]
    found = []
    for number, yaw in enumerate(block.angles):
        elevation = block.elevations[number % len(block.elevations)]
        pseudo = abs(yaw) > LARGEST_TRUE_ANGLE
        side = _side(yaw) + ("_pseudo" if pseudo else "")
        found.append(View(number, yaw, elevation, _view_file(number, side, _height(elevation)), pseudo))
    return found


def _side(yaw: float) -> str:
    return "front" if yaw == 0 else f"{'right' if yaw > 0 else 'left'}_{abs(yaw):g}"


def _height(elevation: float) -> str:
    return "eye_level" if elevation == 0 else f"{'raised' if elevation > 0 else 'low'}_{abs(elevation):g}"


def _view_file(number: int, side: str, height: str) -> str:
    name = f"perspective_{number:02d}_{side}__{height}"
    return name.replace("-", "_").replace(".", "p") + ".png"


def place_of(params: ReferenceObjectParams, prompt: int) -> Place:
    """The 360-degree photograph behind the scenes of a prompt."""
    return params.scenes.places[prompt % len(params.scenes.places)]


def surroundings(params: ReferenceObjectParams, prompt: int) -> str:
    """The surroundings of a prompt's scenes: its place, or its own if each prompt is painted."""
    return f"prompt {prompt}" if params.scenes.painted else place_of(params, prompt)


def prompt_file(prompt: int) -> str:
    """Name of the file that holds the fields of one prompt."""
    return f"prompt_{prompt:03d}.json"


def scene_children(params: ReferenceObjectParams, sample: Sample) -> list[Child]:
    """The scenes of an object: views x prompts x iterations, plus the empty scenes."""
    prefix = f"{sample.id}_" if sample.attributes.get("home") else ""
    found = []
    photo = params.scenes.background == "photo"
    for prompt in range(params.prompts.count):
        for view, number, iteration in _slots(params, prompt):
            kind = f"empty_{number}" if iteration is None else f"perspective_{view.number}"
            seed = _seed(sample.id, kind, prompt, iteration or 0)
            file = f"{kind}_prompt_{prompt}_seed_{seed}"
            attributes = {
                "view": view.number,
                "view_part": view.part,
                "prompt": prompt,
                "prompt_file": prompt_file(prompt),
                "place": "photo" if photo else surroundings(params, prompt),
                "scene_seed": seed,
                "empty": iteration is None,
                "split": split_of(params, prompt, view.number),
                "file": file,
                "picture": prefix + file,
            }
            if params.scenes.backend in EDITORS:
                attributes["view_file"] = view.file
            if photo and params.needs_scenes():
                attributes["photo_split"] = split_of_group(prompt, params, "scene")
            found.append(Child(f"/{file}", attributes))
    return _distinct(found)


def variation_children(params: ReferenceObjectParams, sample: Sample) -> list[Child]:
    """The scene itself, and its variations."""
    names = ["original", *(f"aug_{number}" for number in range(params.vary.count))]
    return [
        Child(
            f"/{name}", {"variation": number, "picture": sample.attributes["picture"] + (f"_{name}" if number else "")}
        )
        for number, name in enumerate(names)
    ]


def augmented_children(params: ReferenceObjectParams, sample: Sample) -> list[Child]:
    """The annotated image itself, and its degraded copies."""
    picture = sample.attributes["picture"]
    children = [Child("/plain", {"copy": 0, "picture_file": picture})]
    if sample.attributes["split"] in params.augment.splits:
        children += [
            Child(f"/cv_{number}", {"copy": number + 1, "picture_file": f"{picture}_cv_{number}"})
            for number in range(params.augment.count)
        ]
    return children


def split_of(params: ReferenceObjectParams, prompt: int, view: int) -> Split:
    """The split of an image, determined by its groups.

    All scenes of one place form a group, because they share a background; so do all images of one view. A prompt only
    uses background photos of its own split.
    """
    found: set[Split] = set()
    if params.needs_scenes():
        group = prompt if params.scenes.prompts_are_groups else prompt % len(params.scenes.places)
        found.add(split_of_group(group, params, "scene"))
    if params.needs_views():
        found.add(split_of_group(view, params, "view"))
    return found.pop() if len(found) == 1 else MIXED


def photos_of_split(names: Sequence[str], params: ReferenceObjectParams, split: Split | None) -> list[str]:
    """The background photos that a split may use, in the order in which prompts take turns.

    Args:
        names: of all photos.
        params: of the pipeline.
        split: None if the split does not depend on backgrounds.
    """
    ordered = sorted(names, key=lambda name: (_digest(name), name))
    if split is None:
        return ordered
    return [name for number, name in enumerate(ordered) if split_of_group(number, params, "photo") == split]


def split_of_group(group: int, params: ReferenceObjectParams, kind: str) -> Split:
    """The split of a group, drawn by the group's hash within the limits of the shares.

    Every prefix of the groups approximates the shares. So adding a group never moves an earlier one, and two groups are
    enough for train and val.
    """
    block = params.annotate
    shares: dict[Split, float] = {"val": 1.0 - block.split_ratio - block.test_share, "test": block.test_share}
    # A hash decides which of the first two groups is for validation.
    first = _digest(kind, "split") % 2
    given: dict[Split, int] = {"train": 0, "val": 0, "test": 0}
    split: Split = "train"
    for number in range(group + 1):
        if number < 2:
            split = "val" if number == first else "train"
        else:
            owed = {each: share * (number + 1) - given[each] for each, share in shares.items()}
            split = _drawn_split(shares, owed, _digest(kind, number) / 2**64)
        given[split] += 1
    return split


def _drawn_split(shares: Mapping[Split, float], owed: Mapping[Split, float], chance: float) -> Split:
    """The most overdue split; otherwise one drawn by `chance` in [0, 1) among the splits that are owed groups."""
    due = max(owed, key=lambda each: owed[each])
    if owed[due] >= _OVERDUE:
        return due
    for split, share in shares.items():
        if owed[split] > 0 and chance < share:
            return split
        chance -= share
    return "train"


def _slots(params: ReferenceObjectParams, prompt: int) -> Iterator[tuple[View, int, int | None]]:
    """View, number and iteration of every scene of a prompt; iteration None marks an empty scene."""
    sides, iterations = views(params), params.scenes.iterations
    for view in sides:
        for iteration in range(iterations):
            yield view, view.number, iteration
    per_prompt = params.scenes.empty_share * len(sides) * iterations
    for number in range(math.floor(per_prompt * prompt + 0.5), math.floor(per_prompt * (prompt + 1) + 0.5)):
        yield sides[number % len(sides)], number, None


def _seed(sample: str, kind: str, prompt: int, iteration: int) -> int:
    return _digest(sample, kind, prompt, iteration) % SEEDS


def _digest(*parts: object) -> int:
    text = "\n".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def _distinct(children: Sequence[Child]) -> list[Child]:
    """The children, with a new seed for any whose name collides with an earlier one."""
    taken: set[str] = set()
    found = []
    for child in children:
        while child.ending in taken:
            child = _reseeded(child)  # noqa: PLW2901 - until its name is new
        taken.add(child.ending)
        found.append(child)
    return found


def _reseeded(child: Child) -> Child:
    attributes = dict(child.attributes)
    old, new = attributes["scene_seed"], (attributes["scene_seed"] + 1) % SEEDS
    for name in ("file", "picture"):
        attributes[name] = attributes[name].removesuffix(str(old)) + str(new)
    attributes["scene_seed"] = new
    return Child(f"/{attributes['file']}", attributes)
