"""Step 4: every view of the object in every scene, with the mask that the compositor knows."""

from __future__ import annotations

import json
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.contract.errors import SampleError
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import BackendUse, Made, Pixels, Stage, StageContext, StageInputs, StageResult
from scenewright_stages.photographs.pictures import (
    bytes_from_unit,
    linear_from_bytes,
    one_thread_each,
    read_rgb,
    read_rgba,
    unit_from_bytes,
    write_json,
)
from scenewright_stages.reference.files import read_cutout
from scenewright_stages.reference.params import ReferenceObjectParams, ScenesParams, Seam
from scenewright_stages.reference.prompts import Fields, read_fields
from scenewright_stages.vision.colour import linear_from_srgb, srgb_from_linear
from scenewright_stages.vision.inpainting.completion import complete
from scenewright_stages.vision.normals import inflated_normals
from scenewright_stages.vision.scenery import panorama, props, surfaces
from scenewright_stages.vision.scenery.cast_shadow import cast_shadow, light_left
from scenewright_stages.vision.scenery.composition import (
    Cutout,
    Drawn,
    Placed,
    Setting,
    draw,
    facing_world,
    local_scale,
    place_on_table,
)

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

USE = BackendUse(
    "scenes",
    "classic",
    notes="Table, light and other things are drawn; what lies around is a 360-degree photograph (Blender, CC0).",
)
_ATTEMPTS = 12
_MARGIN = 6
"""Pixels between the object and the border of the image."""


class ScenesStage(Stage[ReferenceObjectParams]):
    """Draws scenes."""

    def __init__(self, context: StageContext[ReferenceObjectParams]) -> None:
        super().__init__(context)
        one_thread_each()

    def process(self, sample: Sample, inputs: StageInputs[ReferenceObjectParams]) -> StageResult:
        """Writes the image, the object's visible part as a mask, and what is known of the scene.

        Raises:
            SampleError: the object hardly shows, however the scene is drawn (reason ``ObjectHidden``).
        """
        view = _read_view(inputs)
        fields = read_fields(inputs.path("prompts", "fields").read_text(encoding="utf-8"))
        rng = np.random.default_rng([inputs.seed, sample.attributes["scene_seed"]])
        if inputs.params.scenes.background == "own":
            image, cover, facts = _on_own_background(sample, inputs, view)
        else:
            image, cover, facts = _on_a_table(sample, inputs.params.scenes, view, fields, rng)
        mask = cover >= 0.5
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


def box_of(mask: Mask) -> list[int]:
    """Left, top, right and bottom of a mask in pixels; empty for an empty one."""
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


def _on_a_table(
    sample: Sample, block: ScenesParams, view: Cutout, fields: Fields, rng: np.random.Generator
) -> tuple[Bytes, Floats, dict[str, Any]]:
    """Image, what is visible of the object, and facts."""
    for _ in range(_ATTEMPTS):
        setting, scale = _setting(block, view, fields, rng)
        seam: Seam = block.seams[rng.integers(len(block.seams))]
        object_placed = Placed(view, setting.column, setting.row, scale, seam)
        things, occluded = _others(block, setting, object_placed, fields, rng)
        noise = float(rng.uniform(0.4, 2.2))
        if sample.attributes["empty"]:
            drawn = draw(setting, things)
            cover = np.zeros(drawn.pixels.shape[:2], np.float32)
            break
        drawn = draw(setting, [object_placed, *things])
        cover = drawn.covers[0]
        if _visible(drawn) >= block.minimum_visible:
            break
    else:
        raise SampleError("ObjectHidden", f"less than {block.minimum_visible:.0%} of the object shows; fewer occluders")
    facts = {
        "background": "surface",
        "place": fields.place,
        "light": fields.light,
        "light_direction": drawn.light[0],
        "main_light_share": drawn.light[1],
        "camera_pitch": round(setting.pitch, 2),
        "scale": round(scale, 4),
        "seam": seam,
        "decoys": len(things) - occluded,
        "occluders": occluded,
        "visible": 0.0 if sample.attributes["empty"] else round(_visible(drawn), 4),
    }
    return _with_noise(drawn.pixels, noise, rng), cover, facts


def _visible(drawn: Drawn) -> float:
    """Share of the object that nothing hides."""
    return float(drawn.covers[0].sum() / max(float(drawn.whole[0].sum()), 1e-6))


def _setting(block: ScenesParams, view: Cutout, fields: Fields, rng: np.random.Generator) -> tuple[Setting, float]:
    """The empty scene, and the enlargement of the object in it."""
    width, height = block.size
    rows, columns = np.nonzero(view.alpha > 0.5)
    extent = max(np.ptp(rows), np.ptp(columns)) + 1
    low, high = block.object_scale
    # Nearness chooses the third of the range.
    share = low + (high - low) * (fields.nearness * 2 + float(rng.uniform())) / 3
    scale = share * min(width, height) / extent
    left, right = view.base.column - columns.min(), columns.max() - view.base.column
    above, below = view.base.row - rows.min(), rows.max() - view.base.row
    column = _within(rng, scale * left + _MARGIN, width - scale * right - _MARGIN, width * 0.5)
    lowest, highest = scale * above + _MARGIN, height - scale * below - _MARGIN
    row = _within(rng, max(lowest, 0.5 * height), min(highest, 0.8 * height), min(max(0.64 * height, lowest), highest))
    around = panorama.place(fields.place)
    turn = fields.light_degrees - around.azimuth_of_brightest() + float(rng.uniform(-25, 25))
    side = extent * scale
    setting = Setting(
        width=width,
        height=height,
        # People do not notice a few degrees, and a little less shows more of what lies around.
        pitch=float(np.clip(view.base.pitch - (6 if view.base.pitch > 25 else 0) + rng.uniform(-2, 2), 4, 75)),
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


def _within(rng: np.random.Generator, low: float, high: float, otherwise: float) -> float:
    return float(rng.uniform(low, high)) if low < high else otherwise


def _others(
    block: ScenesParams, setting: Setting, placed: Placed, fields: Fields, rng: np.random.Generator
) -> tuple[list[Placed], int]:
    """Decoys beside and behind the object and what stands before it, and how many of the latter."""
    low, high = block.decoys
    count = round(low + (high - low) * min(1.0, max(0.0, fields.clutter + float(rng.uniform(-0.25, 0.25)))))
    side = max(placed.cutout.alpha.shape) * placed.scale
    found = [_beside(setting, placed, side, rng) for _ in range(count)]
    occluded = int(rng.uniform() < block.occluder_probability)
    return [*found, *(_before(setting, side, rng) for _ in range(occluded))], occluded


def _beside(setting: Setting, placed: Placed, side: float, rng: np.random.Generator) -> Placed:
    """A decoy next to the object or behind it; a third of them in its colours."""
    x = float(rng.choice([-1, 1]) * rng.uniform(0.62, 1.15)) * side
    z = float(rng.uniform(-0.15, 0.6)) * min(side, setting.edge * 0.8)
    inside = placed.cutout.alpha > 0.9
    colours = placed.cutout.colours[inside]
    alike = np.asarray(colours[rng.integers(len(colours))]) if rng.uniform() < 0.35 and len(colours) else None
    return _prop_at(setting, x, z, float(rng.uniform(0.3, 0.75)) * side, rng, alike)


def _before(setting: Setting, side: float, rng: np.random.Generator) -> Placed:
    """Something that stands before the object and hides a part of it."""
    x = float(rng.choice([-1, 1]) * rng.uniform(0.25, 0.55)) * side
    z = -float(rng.uniform(0.45, 0.75)) * side
    return _prop_at(setting, x, z, float(rng.uniform(0.3, 0.5)) * side, rng, None)


def _prop_at(
    setting: Setting, x: float, z: float, side: float, rng: np.random.Generator, colour: Floats | None
) -> Placed:
    prop = props.draw_prop(rng, side, setting.pitch, colour)
    column, row = place_on_table(setting, x, z)
    cutout = Cutout(prop.colours, prop.alpha, prop.normals, prop.base, albedo=True)
    return Placed(cutout, column, row, local_scale(setting, row))


def _with_noise(pixels: Floats, levels: float, rng: np.random.Generator) -> Bytes:
    """(H, W, 3) uint8 with a sensor's noise: a little more in the middle tones."""
    height, width = pixels.shape[:2]
    grain = rng.standard_normal((height, width, 3), np.float32)
    grain = 0.6 * grain + 0.4 * grain.mean(axis=2, keepdims=True) * np.float32(1.7)
    strength = np.float32(levels / 255) * (0.5 + np.sqrt(np.clip(pixels * (1 - pixels), 0, 1)))
    return bytes_from_unit(np.clip(pixels + grain * strength, 0, 1).astype(np.float32))


def _on_own_background(
    sample: Sample, inputs: StageInputs[ReferenceObjectParams], view: Cutout
) -> tuple[Bytes, Floats, dict[str, Any]]:
    """The view where the object stood in its own photo, which is filled where that and its shadow were."""
    photo, cut = read_rgb(inputs.path("white", "photo")), read_rgba(inputs.path("white", "cutout"))[1]
    base = json.loads(inputs.path("white", "facts").read_text(encoding="utf-8"))["base"]
    reach = max(5, round(0.02 * max(cut.shape))) | 1
    thing = cv2.dilate((cut > 0).astype(np.uint8), np.ones((reach, reach), np.uint8)) > 0
    shown = linear_from_bytes(photo)
    shadow = cast_shadow(shown, thing)
    empty = linear_from_srgb(complete(unit_from_bytes(photo), thing | shadow, seed=inputs.seed))
    facts = {"background": "own", "place": "own", "visible": 1.0, "seam": "none", "decoys": 0, "occluders": 0}
    if sample.attributes["empty"]:
        cover = np.zeros(cut.shape, np.float32)
        return bytes_from_unit(srgb_from_linear(empty)), cover, {**facts, "visible": 0.0}
    move = np.array([[1, 0, base["column"] - view.base.column], [0, 1, base["row"] - view.base.row]], np.float32)
    size = (cut.shape[1], cut.shape[0])
    layer = cv2.warpAffine(view.colours, move, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    cover = np.asarray(cv2.warpAffine(view.alpha, move, size, flags=cv2.INTER_LINEAR), np.float32)
    # The object keeps the light of its photo, and so its shadow.
    ground = empty * light_left(shown, empty, shadow, thing)[..., None]
    image = ground + cover[..., None] * (layer - ground)
    return bytes_from_unit(srgb_from_linear(image.astype(np.float32))), cover, facts
