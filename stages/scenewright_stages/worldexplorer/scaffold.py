"""Scaffold stage: eight views from one point, and the panorama that contains them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.backends.inpaint.interface import INPAINT, Inpainter
from scenewright_stages.backends.novel_views.interface import Progress, ViewGenerator, ignore
from scenewright_stages.backends.runtime.loading import ModelContext, load
from scenewright_stages.backends.similarity.interface import SIMILARITY, SimilarityModel
from scenewright_stages.contract.errors import SampleError
from scenewright_stages.contract.pipeline import INPUT
from scenewright_stages.contract.samples import SOURCE, Sample
from scenewright_stages.contract.stage import Pixels, Stage, StageContext, StageInputs, StageResult
from scenewright_stages.scenes.preparation import read_png
from scenewright_stages.vision.imaging.colour import uint8_from_unit
from scenewright_stages.vision.imaging.images.loading import load_sample
from scenewright_stages.vision.imaging.images.opening import xmp_of
from scenewright_stages.vision.places.worlds.levelling import (
    BadPose,
    Levelling,
    levelling,
    placed,
    stated_pose,
    turned_sphere,
    unseen_filled,
)
from scenewright_stages.vision.places.worlds.motions import VIEWS, view_camera
from scenewright_stages.vision.places.worlds.outpainted import outpainted, painting_cameras
from scenewright_stages.vision.places.worlds.panorama import cut_view, stitch
from scenewright_stages.vision.places.worlds.ring import mirrored_ring
from scenewright_stages.vision.types import Float32Array, Mask
from scenewright_stages.worldexplorer.capture import transforms
from scenewright_stages.worldexplorer.choosing import SCORES, chosen_candidates
from scenewright_stages.worldexplorer.drawing import drawn_turn, load_generator
from scenewright_stages.worldexplorer.listing import DEPTH, OPPOSITE, brings_views
from scenewright_stages.worldexplorer.params import CANDIDATES, ScaffoldParams, WorldExplorerParams
from scenewright_stages.worldexplorer.photograph import (
    SHAPE_TOLERANCE,
    Photograph,
    picture_path,
    read_photograph,
)

PHOTOGRAPHED, MIRRORED, INVENTED = 255, 128, 0
"""Levels of ``origin.png``."""
_SEAM_RATIO, _SEAM_LEAST = 4.0, 0.06


class ScaffoldStage(Stage[WorldExplorerParams]):
    """Makes the eight views and the panorama."""

    def __init__(self, context: StageContext[WorldExplorerParams]) -> None:
        super().__init__(context)
        block = self.params.scaffold
        self._generator = load_generator(block.backend, block.seva, context.models) if block.turns else None
        self._rater: SimilarityModel | None = None
        self._painter: Inpainter | None = None
        if block.paints_around:
            options = {"precision": block.precision} if block.precision else {}
            self._painter = load(INPAINT, block.backend, ModelContext.from_settings(context.models, options=options))

    def process(self, sample: Sample, inputs: StageInputs[WorldExplorerParams]) -> StageResult:
        """Writes views, panorama, its origin and the cameras.

        Raises:
            SampleError: the input cannot be used.
        """
        if sample.provided:
            raise SampleError(
                "WorkFolder",
                "the input is a work folder, whose paths are made: run training and export alone "
                "(spec.execution.stages.only: [train, export], or --only train,export)",
            )
        block = inputs.params.scaffold
        made = self._made(sample, inputs)
        cameras = [view_camera(view, block.size) for view in range(VIEWS)]
        views = made.views or [cut_view(made.panorama, camera) for camera in cameras]
        path = inputs.workspace / "transforms.json"
        path.write_text(json.dumps(transforms(cameras, [f"final/{view:03d}.png" for view in range(VIEWS)]), indent=1))
        shares = {
            name: round(float((made.origin == level).mean()), 4)
            for name, level in (("photographed", PHOTOGRAPHED), ("mirrored", MIRRORED))
        }
        scores = inputs.workspace / SCORES
        return StageResult(
            {
                "views": [Pixels(uint8_from_unit(view)) for view in views],
                "panorama": Pixels(uint8_from_unit(made.panorama)),
                "origin": Pixels(made.origin),
                "cameras": path,
                **({"scores": scores} if scores.is_file() else {}),
            },
            metrics={"method": "provided" if brings_views(sample) else block.method, **shares, **made.metrics},
            warnings=made.warnings,
            backends=[each.record.use() for each in (self._generator, self._rater, self._painter) if each is not None],
        )

    def _made(self, sample: Sample, inputs: StageInputs[WorldExplorerParams]) -> Scaffold:
        block = inputs.params.scaffold
        if brings_views(sample):
            return from_views(sample, inputs)
        if block.has_gaps:
            return filled_between(inputs, chosen_candidates(inputs, self._load_rater))
        if self._painter is not None and block.method == "singleImage":
            return painted_around(self._painter, inputs, lambda done: self.context.progress(done, ""))
        if self._generator is None:
            return MAKERS[block.method](sample, inputs)
        return turned_photographs(self._generator, inputs, lambda done: self.context.progress(done, ""))

    def _load_rater(self) -> SimilarityModel:
        """Loads CLIP on demand, because most worlds need no ratings."""
        if self._rater is None:
            self._rater = load(SIMILARITY, "clip", ModelContext.from_settings(self.context.models))
        return self._rater


@dataclass(frozen=True, eq=False)
class Scaffold:
    """A world as seen from its centre.

    Attributes:
        panorama: (H, 2 H, 3) float32.
        origin: (H, 2 H) uint8 levels: photographed, mirrored or generated.
        warnings: for the user.
        views: the eight views if given; otherwise they are cut out of the panorama.
        metrics: what was found in the input.
    """

    panorama: Float32Array
    origin: NDArray[np.uint8]
    warnings: tuple[str, ...] = ()
    views: tuple[Float32Array, ...] = ()
    metrics: Mapping[str, float | str] = field(default_factory=dict)


def from_panorama(sample: Sample, inputs: StageInputs[WorldExplorerParams]) -> Scaffold:
    """The scaffold of an equirectangular image."""
    height, brings_depth = inputs.params.scaffold.panorama_height, inputs.find(INPUT, DEPTH) is not None
    found = read_panorama(picture_path(inputs), height, as_it_is=brings_depth)
    origin = np.where(found.shown, PHOTOGRAPHED, INVENTED).astype(np.uint8)
    return Scaffold(found.srgb, origin, found.notes, metrics=found.metrics)


def from_views(sample: Sample, inputs: StageInputs[WorldExplorerParams]) -> Scaffold:
    """The scaffold of eight images."""
    block = inputs.params.scaffold
    views = read_views(sample, inputs, block.size)
    cameras = [view_camera(view, block.size) for view in range(VIEWS)]
    stitched = stitch(views, cameras, min(block.panorama_height, 3 * block.size))
    origin = np.where(stitched.known, PHOTOGRAPHED, INVENTED).astype(np.uint8)
    share = 1 - float(stitched.known.mean())
    warning = f"{share:.0%} of the sphere, above and below the eight views, continues their borders"
    return Scaffold(with_poles(stitched.srgb, stitched.known), origin, (warning,), tuple(views))


def from_photograph(sample: Sample, inputs: StageInputs[WorldExplorerParams]) -> Scaffold:
    """The scaffold of one photograph and its mirror images."""
    block = inputs.params.scaffold
    photograph = read_photograph(inputs)
    ring = mirrored_ring(photograph.srgb, photograph.degrees, block.panorama_height)
    origin = np.select([ring.photographed, ring.mirrored], [PHOTOGRAPHED, MIRRORED], INVENTED).astype(np.uint8)
    photographed, mirrored = (float(mask.mean()) for mask in (ring.photographed, ring.mirrored))
    warnings = [
        f"one photograph shows {photographed:.0%} of the sphere: {mirrored:.0%} are its mirror images, the rest "
        "continues their sky and ground; the pipeline vistadream suits one photograph better"
    ]
    views = [cut_view(ring.srgb, view_camera(view, block.size)) for view in range(VIEWS)]
    views[0] = photograph.over(views[0])
    return Scaffold(ring.srgb, origin, (*warnings, *photograph.shape_warnings()), tuple(views))


def painted_around(
    inpainter: Inpainter, inputs: StageInputs[WorldExplorerParams], progress: Progress = ignore
) -> Scaffold:
    """The scaffold of one photograph, whose surroundings an inpainter paints."""
    block = inputs.params.scaffold
    photograph = read_photograph(inputs)
    # Views and panorama then have about the same detail in the middle of a view.
    height = 2 * block.size
    ring = mirrored_ring(photograph.srgb, photograph.degrees, height)

    def fill(view: Float32Array, hole: Mask, number: int) -> Float32Array:
        progress(number / len(painting_cameras(block.size)))
        return inpainter.fill(view, hole, block.prompt, seed=inputs.seed + number)

    srgb = outpainted(ring.srgb, ring.photographed, block.size, fill)
    views = [cut_view(srgb, view_camera(view, block.size)) for view in range(VIEWS)]
    views[0] = photograph.over(views[0])
    rows = min(block.panorama_height, height)
    reduced = [
        np.asarray(cv2.resize(each, (2 * rows, rows), interpolation=cv2.INTER_AREA), np.float32)
        for each in (srgb, ring.photographed.astype(np.float32))
    ]
    origin = np.where(reduced[1] > 0.5, PHOTOGRAPHED, INVENTED).astype(np.uint8)
    share = float((origin == PHOTOGRAPHED).mean())
    warning = f"one photograph shows {share:.0%} of the sphere: the rest was invented by a generative model"
    return Scaffold(reduced[0], origin, (warning, *photograph.shape_warnings()), tuple(views))


def turned_photographs(
    generator: ViewGenerator, inputs: StageInputs[WorldExplorerParams], progress: Progress = ignore
) -> Scaffold:
    """The scaffold of one or two photographs and a generator's views as the camera rotates in place."""
    block = inputs.params.scaffold
    photographs = [read_photograph(inputs)]
    if block.method == "twoImages":
        photographs.append(read_photograph(inputs, OPPOSITE, VIEWS // 2))
    views = drawn_turn(generator, photographs, block, inputs.seed, progress)
    return invented(views, photographs, block)


def filled_between(inputs: StageInputs[WorldExplorerParams], picks: Sequence[int]) -> Scaffold:
    """The scaffold of four generated views and the chosen candidates between them."""
    drawn = [read_png(path) for path in inputs.paths(CANDIDATES, "views")]
    candidates = inputs.paths(CANDIDATES, "pictures")
    filled = [read_png(candidates[pick]) for pick in picks]
    views = [view for pair in zip(drawn, filled, strict=True) for view in pair]
    photographs = [read_photograph(inputs)] if inputs.find(INPUT, SOURCE) is not None else []
    return invented(views, photographs, inputs.params.scaffold)


def invented(views: Sequence[Float32Array], photographs: Sequence[Photograph], block: ScaffoldParams) -> Scaffold:
    """The scaffold of eight views, generated wherever no photograph covers them."""
    cameras = [view_camera(view, block.size) for view in range(VIEWS)]
    stitched = stitch(views, cameras, min(block.panorama_height, 3 * block.size))
    panorama = with_poles(stitched.srgb, stitched.known)
    shown = np.zeros_like(stitched.known)
    for photograph in photographs:
        shown |= photograph.shown(len(panorama)) & stitched.known
    begin = {
        0: "no photograph shows this place: all sides were invented",
        1: f"one photograph shows {float(shown.mean()):.0%} of the sphere: the other sides were invented",
        2: f"two photographs show {float(shown.mean()):.0%} of the sphere: the other sides were invented",
    }[len(photographs)]
    warning = f"{begin} by a generative model, and above and below them their borders are continued"
    shapes = (text for photograph in photographs for text in photograph.shape_warnings())
    origin = np.where(shown, PHOTOGRAPHED, INVENTED).astype(np.uint8)
    return Scaffold(panorama, origin, (warning, *shapes), tuple(views))


MAKERS: dict[str, Callable[[Sample, StageInputs[WorldExplorerParams]], Scaffold]] = {
    "panorama": from_panorama,
    "provided": from_views,
    "singleImage": from_photograph,
}


@dataclass(frozen=True, eq=False)
class ReadPanorama:
    """A level panorama.

    Attributes:
        srgb: (H, 2 H, 3) float32.
        shown: (H, 2 H) bool, what the file shows; the rest continues its borders.
        notes: for the user.
        metrics: how it was levelled, and the compass direction of its middle.
    """

    srgb: Float32Array
    shown: NDArray[np.bool_]
    notes: tuple[str, ...]
    metrics: Mapping[str, float | str]


def read_panorama(path: Path, height: int, as_it_is: bool = False) -> ReadPanorama:
    """An equirectangular image, reduced to at most `height` rows, levelled, and put onto its part of the sphere.

    Args:
        path: the file.
        height: largest number of rows.
        as_it_is: do not turn it, because distances in its frame come with it.

    Raises:
        SampleError: the image cannot be read, is not twice as wide as high, or its metadata contradict themselves.
    """
    picture = load_sample(path).srgb
    try:
        stated = stated_pose(xmp_of(path))
    except BadPose as problem:
        raise SampleError("BadPanorama", str(problem)) from problem
    rows, columns = picture.shape[:2]
    whole = (rows, columns) if stated.crop is None else (stated.crop[5], stated.crop[4])
    if abs(whole[1] / whole[0] - 2) > 2 * SHAPE_TOLERANCE:
        raise SampleError(
            "NotAPanorama",
            f"{path.name} has {whole[1]}x{whole[0]} pixels, an equirectangular panorama is twice as wide as high: for "
            "eight pictures set scaffold.method to provided; one ordinary photograph suits the pipeline vistadream",
        )
    rows = min(whole[0], height)
    shown, notes = np.ones((rows, 2 * rows), np.bool_), []
    if stated.crop is None:
        resized = cv2.resize(picture, (2 * rows, rows), interpolation=cv2.INTER_AREA)
        panorama = np.clip(resized, 0, 1).astype(np.float32)
        notes += seam_warnings(panorama)
    else:
        panorama, shown = placed(picture, stated.crop, rows)
        panorama = unseen_filled(panorama, shown)
        notes.append(f"the picture shows {_share_of_sphere(shown):.0%} of the sphere: the rest continues its borders")
    found = levelling(panorama, stated)
    if found.turn is not None and as_it_is:
        text = (
            f"the panorama is tilted by {found.degrees:.0f} degrees, as the distances beside it are: it is not levelled"
        )
        found = Levelling(None, found.degrees, "unknown", text)
    if found.turn is not None:
        # The mask goes through the same turn as a fourth channel.
        turned = turned_sphere(np.dstack([panorama, shown.astype(np.float32)]), found.turn)
        panorama, shown = np.ascontiguousarray(turned[..., :3]), turned[..., 3] > 0.5
    notes += [found.note] if found.note else []
    metrics: dict[str, float | str] = {"levelled": found.source, "tilt_degrees": round(found.degrees, 2)}
    if stated.heading is not None:
        metrics["heading_degrees"] = stated.heading
    return ReadPanorama(panorama, shown, tuple(notes), metrics)


def _share_of_sphere(shown: NDArray[np.bool_]) -> float:
    weights = np.cos((0.5 - (np.arange(len(shown)) + 0.5) / len(shown)) * np.pi)
    return float(shown.mean(axis=1) @ weights / weights.sum())


def seam_warnings(panorama: Float32Array) -> list[str]:
    """A warning if the left and right borders do not match."""
    across = float(np.abs(panorama[:, 0] - panorama[:, -1]).mean())
    usual = float(np.abs(np.diff(panorama, axis=1)).mean())
    if across > max(_SEAM_RATIO * usual, _SEAM_LEAST):
        return [
            "the left and right borders of the picture do not fit together: it does not show all 360 degrees, or was "
            "cropped; the world will have a seam behind the first view"
        ]
    return []


def read_views(sample: Sample, inputs: StageInputs[WorldExplorerParams], size: int) -> list[Float32Array]:
    """The eight images at the scaffold's size.

    Raises:
        SampleError: images are missing, not square, or of different sizes.
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


def with_poles(panorama: Float32Array, known: NDArray[np.bool_]) -> Float32Array:
    """The panorama with unknown polar caps filled from each column's border, blurred more towards the pole."""
    filled = panorama.copy()
    height = len(panorama)
    for rows in (range(height // 2, -1, -1), range(height // 2, height)):
        before = filled[height // 2]
        for row in rows:
            # Circles of latitude shrink towards the poles, so a constant blur on the sphere needs more columns.
            circle = max(np.cos((0.5 - (row + 0.5) / height) * np.pi), 0.02)
            reach = min(int(2.0 / circle) * 2 + 1, panorama.shape[1] // 2 * 2 - 1)
            wide = np.concatenate([before[-reach:], before, before[:reach]])[None]
            smooth = cv2.blur(wide, (reach, 1))[0, reach:-reach]
            filled[row] = np.where(known[row][:, None], panorama[row], smooth)
            before = filled[row]
    return filled
