"""Generates unseen views with SEVA: the rotation of a scaffold, and the paths of an expansion.

The stages load the generator here. Generated images are resized to the pipeline's sizes; the geometry always comes from
the pipeline.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from scenewright_stages.backends.novel_views.interface import (
    NOVEL_VIEWS,
    DrawingSettings,
    PathTask,
    PosedPicture,
    ViewGenerator,
)
from scenewright_stages.backends.runtime.loading import ModelContext, load
from scenewright_stages.contract.stage import ModelSettings
from scenewright_stages.scenes.preparation import read_png
from scenewright_stages.vision.imaging.colour import uint8_from_unit, unit_from_uint8
from scenewright_stages.vision.places.worlds.memory import WorldFrame
from scenewright_stages.vision.places.worlds.motions import VIEWS, turned_camera, view_camera
from scenewright_stages.vision.types import Float32Array
from scenewright_stages.worldexplorer.params import ExpansionParams, ScaffoldParams, SevaParams
from scenewright_stages.worldexplorer.photograph import Photograph, resized

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
    photographs: Sequence[Photograph],
    block: ScaffoldParams,
    seed: int,
    progress: Callable[[float], None],
) -> list[Float32Array]:
    """Eight square views from one point, 45 degrees apart, turning left, from photographs along some of them.

    The camera rotates in place through `turn_frames` frames, some of which lie exactly at multiples of 45 degrees.

    Args:
        generator: generates all frames that no photograph covers.
        photographs: the known views.
        block: sizes and generator settings.
        seed: of all random draws.
        progress: called with the fraction done.
    """
    size, count = block.seva.size, block.turn_frames
    known = [photograph.square(size) for photograph in photographs]
    widest = view_camera(0, size).field_of_view[0] - 1e-6
    drawn = {
        photograph.view * count // VIEWS: picture.srgb
        for photograph, picture in zip(photographs, known, strict=True)
        if picture.camera.field_of_view[0] >= widest
    }
    numbers = [number for number in range(count) if number not in drawn]
    cameras = [turned_camera(-360.0 * number / count, size) for number in numbers]
    task = PathTask(known, cameras, settings=_settings(block.seva, 1.0), seed=seed)
    drawn |= zip(numbers, generator.draw(task, progress), strict=True)
    views = [resized(drawn[view * count // VIEWS], block.size) for view in range(VIEWS)]
    for photograph in photographs:
        views[photograph.view] = photograph.over(views[photograph.view])
    return views


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
    """The frames of a path, with their colours replaced by the generator's.

    Args:
        generator: generates the colours.
        views: the eight views.
        memory: paths of earlier motions.
        frames: cameras along the path and their known depth.
        view: number of the view where the path starts.
        block: generator settings.
        seed: of all random draws.
        progress: called with the fraction done.
    """
    size = block.seva.size
    inputs = [
        PosedPicture(resized(read_png(path), size), view_camera(number, size)) for number, path in enumerate(views)
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
        replace(frame, srgb=uint8_from_unit(resized(srgb, block.resolution)))
        for frame, srgb in zip(frames, drawn, strict=True)
    ]


def _anchors(generator: ViewGenerator, path: Sequence[WorldFrame]) -> Iterator[WorldFrame]:
    places = generator.anchors_of(len(path), VIEWS)
    return (path[place] for place in places[_FORGOTTEN:])


def _posed(frame: WorldFrame, size: int) -> PosedPicture:
    return PosedPicture(resized(unit_from_uint8(frame.srgb), size), frame.camera.scaled(size, size))


def _settings(seva: SevaParams, translation_scale: float) -> DrawingSettings:
    return DrawingSettings(seva.steps, seva.guidance, seva.guidance_between, seva.guidance_near, translation_scale)
