"""Where the generator SEVA draws what no photograph shows: the turn of a scaffold, and the paths of an expansion.

The stages load it here. What it draws is brought to the pipeline's sizes, and the geometry stays the pipeline's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.backends.loading import ModelContext, load
from scenewright_stages.backends.novel_views.interface import (
    NOVEL_VIEWS,
    DrawingSettings,
    PathTask,
    PosedPicture,
    ViewGenerator,
)
from scenewright_stages.contract.stage import ModelSettings
from scenewright_stages.scenes.preparation import read_png
from scenewright_stages.vision.cameras import Camera
from scenewright_stages.vision.colour import uint8_from_unit, unit_from_uint8
from scenewright_stages.vision.world.memory import WorldFrame
from scenewright_stages.vision.world.motions import VIEWS, turned_camera, view_camera
from scenewright_stages.worldexplorer.params import ExpansionParams, ScaffoldParams, SevaParams

Floats = NDArray[np.float32]
_BEHIND = (3, 4, 5)
"""Views that look away from a view: so many steps of 45 degrees further."""
_FORGOTTEN = 2
"""The first frames of a path show what the middle shows."""

Remembered = tuple[int, Sequence[WorldFrame]]
"""A view and the frames of one of its paths, in order."""


def load_generator(backend: str, settings: SevaParams, models: ModelSettings) -> ViewGenerator | None:
    """The generator, or None for the classic backend."""
    if backend == "classic":
        return None
    return load(NOVEL_VIEWS, backend, ModelContext.from_settings(models, options={"precision": settings.precision}))


def drawn_turn(
    generator: ViewGenerator,
    photograph: PosedPicture,
    block: ScaffoldParams,
    seed: int,
    progress: Callable[[float], None],
) -> list[Floats]:
    """Eight square views at one point, 45 degrees apart to the left, from a picture that looks straight ahead.

    The camera turns in place through `turn_frames` frames, of which the views are exactly the n-th parts of 45 degrees.

    Args:
        generator: draws all frames but the first, and that one too where the photograph does not fill it.
        photograph: square, of the size of seva's pictures.
        block: sizes and how the generator works.
        seed: of all random draws.
        progress: called with the fraction that is done.
    """
    size, count = block.seva.size, block.turn_frames
    whole = photograph.camera.field_of_view[0] >= view_camera(0, size).field_of_view[0] - 1e-6
    numbers = range(1 if whole else 0, count)
    cameras = [turned_camera(-360.0 * number / count, size) for number in numbers]
    task = PathTask([photograph], cameras, settings=_settings(block.seva, 1.0), seed=seed)
    drawn = dict(zip(numbers, generator.draw(task, progress), strict=True))
    drawn.setdefault(0, photograph.srgb)
    return [_resized(drawn[view * count // VIEWS], block.size) for view in range(VIEWS)]


def square_picture(photograph: Floats, horizontal_degrees: float, size: int) -> PosedPicture:
    """The middle of a photograph, no wider than a view of the scaffold, as a square picture that looks straight ahead.

    Args:
        photograph: (H, W, 3).
        horizontal_degrees: its field of view.
        size: side of the square in pixels.
    """
    height, width = photograph.shape[:2]
    own = Camera.from_field_of_view(width, height, horizontal_degrees)
    widest = round(2 * own.focal[0] * np.tan(np.radians(view_camera(0, size).field_of_view[0] / 2)))
    side = min(width, height, widest)
    left, top = (width - side) // 2, (height - side) // 2
    camera = own.cropped(left, top, side, side).scaled(size, size)
    if side == widest:
        camera = view_camera(0, size)
    return PosedPicture(_resized(photograph[top : top + side, left : left + side], size), camera)


def drawn_path(
    generator: ViewGenerator,
    views: Sequence[Path],
    memory: Sequence[Remembered],
    frames: Sequence[WorldFrame],
    view: int,
    block: ExpansionParams,
    seed: int,
    progress: Callable[[float], None],
) -> list[WorldFrame]:
    """The frames of a path with the generator's colours instead of their own.

    Args:
        generator: draws the colours.
        views: the eight views.
        memory: paths of earlier motions.
        frames: cameras along the path and what is known of their depth.
        view: that the path starts from.
        block: how the generator works.
        seed: of all random draws.
        progress: called with the fraction that is done.
    """
    size = block.seva.size
    inputs = [
        PosedPicture(_resized(read_png(path), size), view_camera(number, size)) for number, path in enumerate(views)
    ]
    remembered = [(start, frame) for start, path in memory for frame in _anchors(generator, path)]
    task = PathTask(
        inputs=inputs,
        targets=[frame.camera.scaled(size, size) for frame in frames],
        memory=[_posed(frame, size) for _, frame in remembered],
        usable=[(start - view) % VIEWS not in _BEHIND for start, _ in remembered],
        settings=_settings(block.seva, block.seva_scale),
        seed=seed,
    )
    drawn = generator.draw(task, progress)
    return [
        replace(frame, srgb=uint8_from_unit(_resized(srgb, block.resolution)))
        for frame, srgb in zip(frames, drawn, strict=True)
    ]


def _anchors(generator: ViewGenerator, path: Sequence[WorldFrame]) -> Iterator[WorldFrame]:
    places = generator.anchors_of(len(path), VIEWS)
    return (path[place] for place in places[_FORGOTTEN:])


def _posed(frame: WorldFrame, size: int) -> PosedPicture:
    return PosedPicture(_resized(unit_from_uint8(frame.srgb), size), frame.camera.scaled(size, size))


def _settings(seva: SevaParams, translation_scale: float) -> DrawingSettings:
    return DrawingSettings(seva.steps, seva.guidance, seva.guidance_between, seva.guidance_near, translation_scale)


def _resized(srgb: Floats, size: int) -> Floats:
    """(size, size, 3) in [0, 1]."""
    if srgb.shape[:2] == (size, size):
        return srgb
    method = cv2.INTER_AREA if srgb.shape[0] > size else cv2.INTER_CUBIC
    return np.clip(cv2.resize(srgb, (size, size), interpolation=method), 0, 1).astype(np.float32)
