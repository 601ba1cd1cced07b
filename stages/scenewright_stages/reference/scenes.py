"""Step 4: composites every view of the object into every scene, with an exact mask."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.contract.errors import ConfigurationError, SampleError
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import BackendUse, Made, Pixels, Stage, StageContext, StageInputs, StageResult
from scenewright_stages.photographs.pictures import (
    bytes_from_unit,
    linear_from_bytes,
    one_thread_each,
    read_photograph,
    read_rgb,
    unit_from_bytes,
    write_json,
)
from scenewright_stages.reference.companions import Companion, companions, read_companions
from scenewright_stages.reference.family import photos_of_split
from scenewright_stages.reference.files import read_cutout, read_reduction
from scenewright_stages.reference.listing import is_photo
from scenewright_stages.reference.own_background import OwnPlace, light_gains, own_scene
from scenewright_stages.reference.params import PHOTOS, THINGS, ReferenceObjectParams, ScenesParams, Seam
from scenewright_stages.reference.wording import Fields, read_fields
from scenewright_stages.vision.geometry.normals import inflated_normals
from scenewright_stages.vision.subjects.lines import labelled, lines_of, moved, parts_of, refuse_shrunk
from scenewright_stages.vision.subjects.scenery import panorama, surfaces
from scenewright_stages.vision.subjects.scenery.composition import Cutout, Drawn, Placed, Setting, draw, facing_world
from scenewright_stages.vision.subjects.scenery.photo_ground import (
    PhotoGround,
    fitted,
    light_of_photo,
    without_tone_curve,
)
from scenewright_stages.vision.subjects.scenery.standing import Base
from scenewright_stages.vision.types import Float32Array, Mask, Uint8Array

USE = BackendUse(
    "scenes",
    "classic",
    notes="Table, light and other things are drawn; what lies around is a 360-degree photograph (Blender, CC0).",
)
_ATTEMPTS = 12
_PITCH_VARIES = 4.0
"""Degrees by which a scene is looked down on more or less than the object was."""
_MARGIN = 6
"""Pixels between the object and the border of the image."""
_GREY = surfaces.TableTop(np.full((4, 4, 3), 0.3, np.float32), 0.0, np.full(3, 0.3, np.float32))
"""What the ground of a photo throws back on the things that stand on it."""


_EXPOSURE, _WARMTH = 0.35, 0.1
"""Largest change of a drawn scene's exposure and white balance, as logarithms. Two photos of one thing differ as much;
without it the object would be about equally bright in all scenes.
"""
_BAND = 256
"""Rows that get their noise at once: a photo of 24 megapixels has no room for several copies of itself."""


@dataclass(frozen=True, eq=False)
class UserPhoto:
    """A background photo from the user, (H, W, 3) float32 linear, and its name."""

    name: str
    linear: Float32Array


@dataclass(frozen=True, eq=False)
class UserPictures:
    """The user's images for a scene: an optional background photo, and cut-outs to place beside the object."""

    photo: UserPhoto | None
    things: Sequence[Companion]


@dataclass(frozen=True, eq=False)
class Seen:
    """The object in a scene.

    Attributes:
        cover: (H, W) float32 visible coverage.
        whole: (H, W) float32 coverage without what stands before it.
        move: (2, 3) affine map from the view's pixels to the scene's.
    """

    cover: Float32Array
    whole: Float32Array
    move: NDArray[np.floating]


class ScenesStage(Stage[ReferenceObjectParams]):
    """Draws scenes."""

    def __init__(self, context: StageContext[ReferenceObjectParams]) -> None:
        super().__init__(context)
        one_thread_each()
        self._things: list[Companion] = []
        self._lock = threading.Lock()

    def process(self, sample: Sample, inputs: StageInputs[ReferenceObjectParams]) -> StageResult:
        """Writes the image, the mask of the object's visible part, and the scene's metadata.

        Raises:
            SampleRejected: the object loses a part, such as lines that become too thin (reason ``object-shrinks``).
            SampleError: the object is hardly visible in every attempt (reason ``ObjectHidden``).
        """
        view = _read_view(inputs)
        fields = read_fields(inputs.path("prompts", "fields").read_text(encoding="utf-8"))
        rng = np.random.default_rng([inputs.seed, sample.attributes["scene_seed"]])
        if inputs.params.scenes.background == "own":
            image, seen, facts = _on_own_background(sample, inputs, view, rng)
        else:
            user = self._users(sample, inputs)
            image, seen, facts = _on_ground(sample, inputs.params.scenes, view, fields, user, rng)
        inside = view.alpha >= 0.5
        mask, kept = labelled(seen.cover, seen.whole, moved(lines_of(inside), seen.move), parts_of(inside))
        if not sample.attributes["empty"]:
            refuse_shrunk(kept, "the scene", "make it larger: scenes.size, scenes.objectScale")
        metrics: dict[str, Any] = {
            **facts,
            "prompt": fields.text,
            "surface": fields.surface,
            "box": box_of(mask),
            "area": round(float(mask.mean()), 6),
            "width": int(mask.shape[1]),
            "height": int(mask.shape[0]),
        }
        outputs: dict[str, Made] = {
            "image": Pixels(image),
            "mask": Pixels(mask.astype(np.uint8) * np.uint8(255)),
            "facts": write_json(inputs.workspace / "scene.json", metrics),
        }
        return StageResult(outputs, metrics, (), [USE])

    def _users(self, sample: Sample, inputs: StageInputs[ReferenceObjectParams]) -> UserPictures:
        """The user's photo and cut-outs, if the job names any."""
        block = inputs.params.scenes
        with self._lock:
            if THINGS in inputs.named and not self._things:
                self._things = read_companions(inputs.named[THINGS], block.things)
        photo = _photo_of(sample, inputs) if PHOTOS in inputs.named else None
        return UserPictures(photo, self._things)


def _photo_of(sample: Sample, inputs: StageInputs[ReferenceObjectParams]) -> UserPhoto:
    """The photo of the sample's prompt.

    Raises:
        ConfigurationError: the folder has no photo for the sample's split.
    """
    folder = inputs.named[PHOTOS]
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if is_photo(path.name)}
    split = sample.attributes.get("photo_split")
    names = photos_of_split(sorted(paths), inputs.params, split)
    if not names:
        where = f" for {split}: groups never cross a split, so every split needs photos of its own" if split else ""
        remedy = f"has {len(paths)} photos, none{where}"
        raise ConfigurationError("spec.referenceObject.scenes.photos", inputs.params.scenes.photos, remedy)
    name = names[sample.attributes["prompt"] % len(names)]
    return UserPhoto(name, linear_from_bytes(read_photograph(paths[name]).pixels))


def box_of(mask: Mask) -> list[int]:
    """Left, top, right and bottom of a mask in pixels; an empty list for an empty mask."""
    if not mask.any():
        return []
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return [left, top, left + width, top + height]


def _read_view(inputs: StageInputs[ReferenceObjectParams]) -> Cutout:
    """The view of the object that the scene shows."""
    pixels, alpha, base = read_cutout(inputs.path("perspectives", "cutouts"))
    cover = unit_from_bytes(alpha)
    normals = facing_world(inflated_normals(cover, unit_from_bytes(pixels).mean(axis=2), 0.0), base.pitch)
    return Cutout(linear_from_bytes(pixels), cover, normals, base)


def _on_ground(
    sample: Sample,
    block: ScenesParams,
    view: Cutout,
    fields: Fields,
    user: UserPictures,
    rng: np.random.Generator,
) -> tuple[Uint8Array, Seen, dict[str, Any]]:
    """Image, visible part of the object, and metadata of a scene on a table or in front of a user's photo."""
    # A generator of its own: what stands where does not depend on it. A user's photo keeps the light that it has.
    gains = _camera_gains(rng.spawn(1)[0]) if user.photo is None else None
    for _ in range(_ATTEMPTS):
        setting, scale = setting_of(block, view, fields, user, rng)
        if gains is not None:
            setting = replace(setting, exposure=gains)
        seam: Seam = block.seams[rng.integers(len(block.seams))]
        object_placed = Placed(view, setting.column, setting.row, scale, seam)
        things, occluded = companions(block, setting, object_placed, fields, user.things, rng)
        noise = float(rng.uniform(0.4, 2.2))
        if sample.attributes["empty"]:
            drawn = draw(setting, things)
            nothing = np.zeros(drawn.pixels.shape[:2], np.float32)
            seen = Seen(nothing, nothing, object_placed.move())
            break
        drawn = draw(setting, [object_placed, *things])
        seen = Seen(drawn.covers[0], drawn.whole[0], object_placed.move())
        if _visible(drawn) >= block.minimum_visible:
            break
    else:
        raise SampleError("ObjectHidden", f"less than {block.minimum_visible:.0%} of the object shows; fewer occluders")
    facts = {
        "background": block.background,
        "place": fields.place if user.photo is None else user.photo.name,
        "light": fields.light if user.photo is None else "photo",
        "light_direction": drawn.light[0],
        "main_light_share": drawn.light[1],
        "camera_pitch": round(setting.pitch, 2),
        "scale": round(scale, 4),
        "seam": seam,
        "decoys": len(things) - occluded,
        "occluders": occluded,
        "visible": 0.0 if sample.attributes["empty"] else round(_visible(drawn), 4),
    }
    if gains is not None:
        facts["light_gains"] = [*gains]
    return with_noise(drawn.pixels, noise, rng), seen, facts


def _camera_gains(rng: np.random.Generator) -> tuple[float, float, float]:
    return light_gains(float(rng.uniform(-_EXPOSURE, _EXPOSURE)), float(rng.uniform(-_WARMTH, _WARMTH)))


def _visible(drawn: Drawn) -> float:
    """Unoccluded share of the object."""
    return float(drawn.covers[0].sum() / max(float(drawn.whole[0].sum()), 1e-6))


def setting_of(
    block: ScenesParams, view: Cutout, fields: Fields, user: UserPictures, rng: np.random.Generator
) -> tuple[Setting, float]:
    """The empty scene, and the object's scale in it."""
    width, height = block.size
    column, row, scale = placement(block, view.alpha, view.base, fields, rng)
    if user.photo is not None:
        return _before_photo(block, user.photo, view, (column, row), scale, rng)
    around = panorama.place(fields.place)
    turn = fields.light_degrees - around.azimuth_of_brightest() + float(rng.uniform(-25, 25))
    side = extent_of(view.alpha) * scale
    # A few degrees are not noticeable, and a lower pitch shows more of the surroundings.
    lowered = view.base.pitch - (6 if view.base.pitch > 25 else 0)
    setting = Setting(
        width=width,
        height=height,
        pitch=float(np.clip(lowered + rng.uniform(-_PITCH_VARIES, _PITCH_VARIES), 4, 75)),
        column=column,
        row=row,
        panorama=around.turned(turn),
        table=surfaces.table_top(fields.surface, rng),
        tile=float(rng.uniform(1.7, 2.6)) * side,
        turn=float(rng.uniform(0, 2 * np.pi)),
        edge=float(rng.uniform(0.8, 2.0)) * side,
        defocus=float(rng.uniform(5.0, 10.0)) * min(width, height) / 640,
    )
    return setting, scale


def placement(
    block: ScenesParams, alpha: Float32Array, base: Base, fields: Fields, rng: np.random.Generator
) -> tuple[float, float, float]:
    """Pixel column and row for the middle of the object's base, and the object's scale.

    Args:
        block: size of the image, and how much of it the object fills.
        alpha: (h, w) float32 of the view.
        base: of the view.
        fields: give the object's nearness.
        rng: for all random draws.
    """
    width, height = block.size
    rows, columns = np.nonzero(alpha > 0.5)
    low, high = block.object_scale
    # Nearness selects a third of the size range.
    share = low + (high - low) * (fields.nearness * 2 + float(rng.uniform())) / 3
    scale = share * min(width, height) / extent_of(alpha)
    left, right = base.column - columns.min(), columns.max() - base.column
    above, below = base.row - rows.min(), rows.max() - base.row
    column = _within(rng, scale * left + _MARGIN, width - scale * right - _MARGIN, width * 0.5)
    lowest, highest = scale * above + _MARGIN, height - scale * below - _MARGIN
    row = _within(rng, max(lowest, 0.5 * height), min(highest, 0.8 * height), min(max(0.64 * height, lowest), highest))
    return column, row, float(scale)


def extent_of(alpha: Float32Array) -> int:
    """Longer side of the view's object in pixels."""
    rows, columns = np.nonzero(alpha > 0.5)
    return int(max(np.ptp(rows), np.ptp(columns))) + 1


def _before_photo(
    block: ScenesParams,
    photo: UserPhoto,
    view: Cutout,
    place: tuple[float, float],
    scale: float,
    rng: np.random.Generator,
) -> tuple[Setting, float]:
    """A photo as an empty scene. With a ground line, things nearer to the line are smaller."""
    width, height = block.size
    column, row = place
    pixels = fitted(photo.linear, width, height, float(rng.uniform()), float(rng.uniform()))
    around, exposure = light_of_photo(pixels)
    ground = PhotoGround(without_tone_curve(pixels), None if block.ground is None else block.ground * height, exposure)
    if ground.horizon is not None:
        lowest = max(row, ground.horizon + 0.12 * height)
        row = float(rng.uniform(ground.horizon + 0.1 * height, lowest))
        scale *= float(np.clip((row - ground.horizon) / max(0.85 * height - ground.horizon, 1.0), 0.35, 1.0)) ** 0.5
        # Do not crop the top.
        above = scale * (view.base.row - np.flatnonzero((view.alpha > 0.5).any(axis=1))[0]) + _MARGIN
        row = max(row, min(above, 0.9 * height))
    setting = Setting(
        width=width,
        height=height,
        # Use the object's own pitch instead of the photo's, so that the shadow fits the object's base.
        pitch=view.base.pitch,
        column=column,
        row=row,
        panorama=around,
        table=_GREY,
        tile=1.0,
        turn=0.0,
        edge=np.inf,
        defocus=0.0,
        photo=ground,
    )
    return setting, scale


def _within(rng: np.random.Generator, low: float, high: float, otherwise: float) -> float:
    return float(rng.uniform(low, high)) if low < high else otherwise


def with_noise(pixels: Float32Array, levels: float, rng: np.random.Generator) -> Uint8Array:
    """(H, W, 3) uint8 with sensor noise, slightly stronger in the mid-tones."""
    noisy = np.empty(pixels.shape, np.uint8)
    for start in range(0, len(pixels), _BAND):
        band = pixels[start : start + _BAND]
        grain = rng.standard_normal(band.shape, np.float32)
        grain = 0.6 * grain + 0.4 * grain.mean(axis=2, keepdims=True) * np.float32(1.7)
        strength = np.float32(levels / 255) * (0.5 + np.sqrt(np.clip(band * (1 - band), 0, 1)))
        noisy[start : start + _BAND] = bytes_from_unit(np.clip(band + grain * strength, 0, 1).astype(np.float32))
    return noisy


def _on_own_background(
    sample: Sample, inputs: StageInputs[ReferenceObjectParams], view: Cutout, rng: np.random.Generator
) -> tuple[Uint8Array, Seen, dict[str, Any]]:
    """The view near the object's original position in its own photo."""
    base = json.loads(inputs.path("white", "facts").read_text(encoding="utf-8"))["base"]
    with np.load(inputs.path("backdrop", "light")) as stored:
        # The object keeps its photo's light, and therefore its shadow.
        left = np.asarray(stored["left"], np.float32)
    empty = linear_from_bytes(read_rgb(inputs.path("backdrop", "empty")))
    without = bool(sample.attributes["empty"])
    place = OwnPlace(empty, left, base["column"], base["row"])
    larger = read_reduction(inputs.path("perspectives", "cutouts"))
    picture, cover, move, drawn = own_scene(place, None if without else view, rng, larger)
    facts = {
        "background": "own",
        "place": "own",
        "visible": 0.0 if without else 1.0,
        "seam": "none",
        "decoys": 0,
        "occluders": 0,
        **drawn,
    }
    return with_noise(picture, float(rng.uniform(0.3, 1.5)), rng), Seen(cover, cover, move), facts
