"""First stage: eight views at one point, and the panorama that they are part of."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.backends.novel_views.interface import Progress, ViewGenerator, ignore
from scenewright_stages.contract.errors import SampleError
from scenewright_stages.contract.pipeline import INPUT
from scenewright_stages.contract.samples import SOURCE, Sample
from scenewright_stages.contract.stage import Pixels, Stage, StageContext, StageInputs, StageResult
from scenewright_stages.vision.cameras import Camera
from scenewright_stages.vision.colour import uint8_from_unit
from scenewright_stages.vision.geometry import project
from scenewright_stages.vision.images.loading import load_sample
from scenewright_stages.vision.world.motions import VIEWS, view_camera
from scenewright_stages.vision.world.panorama import cut_view, rays_of, stitch
from scenewright_stages.vision.world.ring import mirrored_ring
from scenewright_stages.worldexplorer.capture import transforms
from scenewright_stages.worldexplorer.drawing import drawn_turn, load_generator, square_picture
from scenewright_stages.worldexplorer.params import WorldExplorerParams

Floats = NDArray[np.float32]
PHOTOGRAPHED, MIRRORED, INVENTED = 255, 128, 0
"""Levels of ``origin.png``."""
_SHAPE_TOLERANCE = 0.01
_USUAL_DEGREES = 60.0
_SEAM_RATIO, _SEAM_LEAST = 4.0, 0.06


class ScaffoldStage(Stage[WorldExplorerParams]):
    """Makes the eight views and the panorama."""

    def __init__(self, context: StageContext[WorldExplorerParams]) -> None:
        super().__init__(context)
        block = self.params.scaffold
        self._generator = load_generator(block.backend, block.seva, context.models)

    def process(self, sample: Sample, inputs: StageInputs[WorldExplorerParams]) -> StageResult:
        """Writes views, panorama, its origin and the cameras.

        Raises:
            SampleError: the input cannot be used.
        """
        if not sample.files:
            raise SampleError(
                "WorkFolder",
                "the input is a work folder, whose paths are made: run training and export alone "
                "(spec.stages.only: [train, export], or --only train,export)",
            )
        block = inputs.params.scaffold
        cameras = [view_camera(view, block.size) for view in range(VIEWS)]
        if self._generator is None or block.method != "singleImage":
            made = MAKERS[block.method](sample, inputs)
        else:
            made = turned_photograph(self._generator, inputs, lambda done: self.context.progress(done, ""))
        views = made.views or [cut_view(made.panorama, camera) for camera in cameras]
        path = inputs.workspace / "transforms.json"
        path.write_text(json.dumps(transforms(cameras, [f"final/{view:03d}.png" for view in range(VIEWS)]), indent=1))
        shares = {
            name: round(float((made.origin == level).mean()), 4)
            for name, level in (("photographed", PHOTOGRAPHED), ("mirrored", MIRRORED))
        }
        return StageResult(
            {
                "views": [Pixels(uint8_from_unit(view)) for view in views],
                "panorama": Pixels(uint8_from_unit(made.panorama)),
                "origin": Pixels(made.origin),
                "cameras": path,
            },
            metrics={"method": block.method, **shares},
            warnings=made.warnings,
            backends=() if self._generator is None else (self._generator.record.use(),),
        )


@dataclass(frozen=True, eq=False)
class Scaffold:
    """A world from its middle.

    Attributes:
        panorama: (H, 2 H, 3) float32.
        origin: (H, 2 H) uint8 levels: photographed, mirrored or invented.
        warnings: what a user must know of it.
        views: the eight views where they are given; else they are cut out of the panorama.
    """

    panorama: Floats
    origin: NDArray[np.uint8]
    warnings: tuple[str, ...] = ()
    views: tuple[Floats, ...] = ()


def from_panorama(sample: Sample, inputs: StageInputs[WorldExplorerParams]) -> Scaffold:
    """Of one equirectangular picture."""
    panorama = read_panorama(inputs.path(INPUT, SOURCE), inputs.params.scaffold.panorama_height)
    origin = np.full(panorama.shape[:2], PHOTOGRAPHED, np.uint8)
    return Scaffold(panorama, origin, tuple(seam_warnings(panorama)))


def from_views(sample: Sample, inputs: StageInputs[WorldExplorerParams]) -> Scaffold:
    """Of eight pictures."""
    block = inputs.params.scaffold
    views = read_views(sample, inputs, block.size)
    cameras = [view_camera(view, block.size) for view in range(VIEWS)]
    stitched = stitch(views, cameras, min(block.panorama_height, 3 * block.size))
    origin = np.where(stitched.known, PHOTOGRAPHED, INVENTED).astype(np.uint8)
    share = 1 - float(stitched.known.mean())
    warning = f"{share:.0%} of the sphere, above and below the eight views, continues their borders"
    return Scaffold(with_poles(stitched.srgb, stitched.known), origin, (warning,), tuple(views))


def from_photograph(sample: Sample, inputs: StageInputs[WorldExplorerParams]) -> Scaffold:
    """Of one photograph and its mirror images."""
    block = inputs.params.scaffold
    photograph, degrees = _read_photograph(inputs)
    ring = mirrored_ring(photograph, degrees, block.panorama_height)
    origin = np.select([ring.photographed, ring.mirrored], [PHOTOGRAPHED, MIRRORED], INVENTED).astype(np.uint8)
    photographed, mirrored = (float(mask.mean()) for mask in (ring.photographed, ring.mirrored))
    warnings = [
        f"one photograph shows {photographed:.0%} of the sphere: {mirrored:.0%} are its mirror images, the rest "
        "continues their borders; the pipeline vistadream suits one photograph better"
    ]
    warnings += _shape_warnings(photograph)
    panorama = with_poles(ring.srgb, ring.photographed | ring.mirrored)
    cameras = [view_camera(view, block.size) for view in range(VIEWS)]
    views = [cut_view(panorama, camera) for camera in cameras]
    views[0] = with_photograph(views[0], cameras[0], photograph, degrees)
    return Scaffold(panorama, origin, tuple(warnings), tuple(views))


def _read_photograph(inputs: StageInputs[WorldExplorerParams]) -> tuple[Floats, float]:
    """The pixels of a single image and its horizontal field of view in degrees."""
    photograph = load_sample(inputs.path(INPUT, SOURCE))
    degrees = inputs.params.scaffold.field_of_view_degrees or photograph.horizontal_degrees or _USUAL_DEGREES
    return photograph.srgb, degrees


def _shape_warnings(photograph: Floats) -> list[str]:
    height, width = photograph.shape[:2]
    if abs(width / height - 2) < 2 * _SHAPE_TOLERANCE:
        return ["the picture is twice as wide as high: a 360-degree panorama needs scaffold.method panorama"]
    return []


def turned_photograph(
    generator: ViewGenerator, inputs: StageInputs[WorldExplorerParams], progress: Progress = ignore
) -> Scaffold:
    """Of one photograph and what a generator draws when the camera turns in place."""
    block = inputs.params.scaffold
    photograph, degrees = _read_photograph(inputs)
    known = square_picture(photograph, degrees, block.seva.size)
    views = drawn_turn(generator, known, block, inputs.seed, progress)
    cameras = [view_camera(view, block.size) for view in range(VIEWS)]
    views[0] = with_photograph(views[0], cameras[0], photograph, degrees)
    stitched = stitch(views, cameras, min(block.panorama_height, 3 * block.size))
    panorama = with_poles(stitched.srgb, stitched.known)
    shown = mirrored_ring(photograph, degrees, len(panorama)).photographed & stitched.known
    warning = (
        f"one photograph shows {float(shown.mean()):.0%} of the sphere: the other sides were invented by a generative "
        "model, and above and below them their borders are continued"
    )
    origin = np.where(shown, PHOTOGRAPHED, INVENTED).astype(np.uint8)
    return Scaffold(panorama, origin, (warning, *_shape_warnings(photograph)), tuple(views))


def with_photograph(view: Floats, camera: Camera, photograph: Floats, horizontal_degrees: float) -> Floats:
    """The view straight ahead with the photograph itself where it reaches: resampled once, never its reconstruction."""
    height, width = photograph.shape[:2]
    own = Camera.from_field_of_view(width, height, horizontal_degrees)
    scale = min(1.0, camera.focal[0] / own.focal[0])
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = np.asarray(cv2.resize(photograph, size, interpolation=cv2.INTER_AREA), np.float32)
    places, _ = project(rays_of(camera), own.scaled(*size))
    inside = np.all((places >= 0) & (places < size), axis=-1)
    spots = (places - 0.5).astype(np.float32)
    seen = cv2.remap(small, spots[..., 0], spots[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.where(inside[..., None], seen, view).astype(np.float32)


MAKERS: dict[str, Callable[[Sample, StageInputs[WorldExplorerParams]], Scaffold]] = {
    "panorama": from_panorama,
    "provided": from_views,
    "singleImage": from_photograph,
}


def read_panorama(path: Path, height: int) -> Floats:
    """(H, 2 H, 3) float32 sRGB of an equirectangular picture, reduced to at most `height` rows.

    Raises:
        SampleError: the picture cannot be read, or is not twice as wide as high.
    """
    picture = load_sample(path).srgb
    rows, columns = picture.shape[:2]
    if abs(columns / rows - 2) > 2 * _SHAPE_TOLERANCE:
        raise SampleError(
            "NotAPanorama",
            f"the picture has {columns}x{rows} pixels, an equirectangular panorama is twice as wide as high: for eight "
            "pictures set scaffold.method to provided; one ordinary photograph suits the pipeline vistadream",
        )
    rows = min(rows, height)
    resized = cv2.resize(picture, (2 * rows, rows), interpolation=cv2.INTER_AREA)
    return np.clip(resized, 0, 1).astype(np.float32)


def seam_warnings(panorama: Floats) -> list[str]:
    """A sentence where the left and the right border do not continue each other."""
    across = float(np.abs(panorama[:, 0] - panorama[:, -1]).mean())
    usual = float(np.abs(np.diff(panorama, axis=1)).mean())
    if across > max(_SEAM_RATIO * usual, _SEAM_LEAST):
        return [
            "the left and right borders of the picture do not fit together: it does not show all 360 degrees, or was "
            "cropped; the world will have a seam behind the first view"
        ]
    return []


def read_views(sample: Sample, inputs: StageInputs[WorldExplorerParams], size: int) -> list[Floats]:
    """The eight pictures at the scaffold's size.

    Raises:
        SampleError: pictures are missing, not square, or of differing sizes.
    """
    names = [f"view_{view}" for view in range(VIEWS)]
    missing = [f"{view:03d}" for view, name in enumerate(names) if name not in sample.files]
    if missing:
        raise SampleError(
            "ViewsMissing",
            f"scaffold.method provided needs a folder with the pictures 000 to 007; missing: {', '.join(missing)}",
        )
    pictures = [load_sample(inputs.path(INPUT, name)).srgb for name in names]
    shapes = {picture.shape[:2] for picture in pictures}
    if len(shapes) != 1 or len(set(next(iter(shapes)))) != 1:
        listed = ", ".join(f"{width}x{height}" for height, width in sorted(shapes))
        raise SampleError("ViewsDiffer", f"the eight pictures must be square and of one size, not {listed}")
    method = cv2.INTER_AREA if pictures[0].shape[0] > size else cv2.INTER_CUBIC
    resized = (cv2.resize(picture, (size, size), interpolation=method) for picture in pictures)
    return [np.clip(each, 0, 1).astype(np.float32) for each in resized]


def with_poles(panorama: Floats, known: NDArray[np.bool_]) -> Floats:
    """The panorama with its unknown caps filled: each column's border, ever smoother towards the pole."""
    filled = panorama.copy()
    height = len(panorama)
    for rows in (range(height // 2, -1, -1), range(height // 2, height)):
        before = filled[height // 2]
        for row in rows:
            # Circles shrink towards the poles: an even blur on the sphere is a wider one in columns.
            circle = max(np.cos((0.5 - (row + 0.5) / height) * np.pi), 0.02)
            reach = min(int(2.0 / circle) * 2 + 1, panorama.shape[1] // 2 * 2 - 1)
            wide = np.concatenate([before[-reach:], before, before[:reach]])[None]
            smooth = cv2.blur(wide, (reach, 1))[0, reach:-reach]
            filled[row] = np.where(known[row][:, None], panorama[row], smooth)
            before = filled[row]
    return filled
