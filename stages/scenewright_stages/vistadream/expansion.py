"""The coarse loop: propose poses, render them, pick the one with the right hole, fill it, grow the scene, repeat.

Backends come in as functions, so that the loop is the same for classic backends, for models and for the exact answers
of a synthetic world.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from scenewright_stages.scenes.flight import COVERED_ALPHA, hole_around
from scenewright_stages.scenes.frames import Frame, gaussians_of, training_view
from scenewright_stages.vision.gaussians.objective import OptimisationSettings, View
from scenewright_stages.vision.gaussians.optimisation import optimise
from scenewright_stages.vision.gaussians.rendering import Renderer
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.geometry.points import (
    moved_behind,
    occludes,
    on_surface,
    project,
    sample_nearest,
    snap_edge_depth,
)
from scenewright_stages.vision.gpu import HostCopy, arrived, wait_until_busy
from scenewright_stages.vision.imaging.inpainting.background import background_side
from scenewright_stages.vistadream.alignment import smooth_connect
from scenewright_stages.vistadream.diagnostics import CoarseSummary, ExtraFrame, GapView, SelectionDiagnosis, diagnose
from scenewright_stages.vistadream.selection import Band, Choice, select_pose

log = logging.getLogger(__name__)

SMALLEST_GAP = 0.001
"""Share of a view that must be uncovered to be worth closing."""

GAP_OPACITY = 0.95
"""Of Gaussians that nothing optimises afterwards."""

LAG_BEHIND_PHOTOGRAPH = 0.02
"""Relative distance that added Gaussians keep behind the photograph's surfaces."""

SWELLING = 2.0
"""How far a new Gaussian may grow: what no view supervises would swell behind surfaces and show from elsewhere."""

TINTING = 0.03
"""How far its colour may move from its pixel: what a view hardly sees would take any, and show it from elsewhere."""

CANDIDATES_PER_BATCH = 16
"""Views drawn while the holes of the last batch are looked at."""


@dataclass(frozen=True, eq=False)
class HoledView:
    """A candidate view as rendered from the scene so far.

    Attributes:
        camera: of the view, margin included.
        srgb: (H, W, 3) float32; meaningless in the hole.
        depth: (H, W) float32 metres; 0 in the hole and where nothing is.
        hole: (H, W) bool.
    """

    camera: Camera
    srgb: NDArray[np.float32]
    depth: NDArray[np.float32]
    hole: NDArray[np.bool_]


class FillColour(Protocol):
    """Fills the hole of a view: (H, W, 3) float32 sRGB, known pixels bit-identical."""

    def __call__(self, view: HoledView, seed: int) -> NDArray[np.float32]: ...


class PredictDepth(Protocol):
    """Predicts the depth of a filled view, (H, W) float32 in any unit, NaN where unknown or not trusted."""

    def __call__(self, view: HoledView, srgb: NDArray[np.float32]) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class ExpansionSettings:
    """What the loop is asked for; see :class:`~scenewright_stages.vistadream.params.CoarseParams`."""

    frames: int
    band: Band
    margin: int
    optimisation: OptimisationSettings
    edge_threshold: float
    opacity: float = 0.8
    gap_views: int = 0


def _ignore_growth(scene: GaussianScene, frames: Sequence[Frame]) -> None:
    """Shows nothing."""


@dataclass(frozen=True)
class ExpansionTools:
    """Functions that render, fill and predict (None: depth continues what is around a hole), and report progress.

    ``on_growth`` gets the scene and its frames after every view that was added.
    """

    renderer: Renderer
    fill_colour: FillColour
    predict_depth: PredictDepth | None
    on_progress: Callable[[float, str], None]
    on_growth: Callable[[GaussianScene, Sequence[Frame]], None] = _ignore_growth


@dataclass(frozen=True)
class Expansion:
    """The grown scene, all of its frames, and the summary."""

    scene: GaussianScene
    frames: list[Frame]
    summary: CoarseSummary


@dataclass(frozen=True, eq=False)
class _Hole:
    """The hole of a candidate: its share of the view, and its pixels, packed eight to a byte."""

    share: float
    packed: NDArray[np.uint8]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, uncovered: NDArray[np.bool_], specks: bool) -> _Hole:
        pixels = hole_around(uncovered, specks)
        return cls(float(pixels.mean()), np.packbits(pixels), pixels.shape)

    @property
    def pixels(self) -> NDArray[np.bool_]:
        """(H, W) bool."""
        return np.unpackbits(self.packed, count=math.prod(self.shape)).reshape(self.shape).view(np.bool_)


@dataclass(frozen=True, eq=False)
class _Round:
    """What the candidates show: their holes, and the mean share of covered pixels over all of them."""

    holes: list[_Hole]
    coverage: float

    @property
    def ratios(self) -> list[float]:
        """Share of hole pixels of every view."""
        return [hole.share for hole in self.holes]


def expand(
    scene: GaussianScene,
    frames: Sequence[Frame],
    candidates: Sequence[Camera],
    settings: ExpansionSettings,
    tools: ExpansionTools,
    seed: int,
) -> Expansion:
    """Adds up to `settings.frames` views to a scene.

    Args:
        scene: Gaussians of the first frames.
        frames: the input and, when there is one, the outpainted frame.
        candidates: cameras of the dense trajectory, without margin.
        seed: of fills and of the order of training views.
    """
    frames = list(frames)
    views = [camera.expanded(settings.margin // 2) for camera in candidates]
    pictures = [training_view(frame, scene.device) for frame in frames]
    chosen: list[int] = []
    extra: list[ExtraFrame] = []
    coverage: list[float] = []
    diagnosis: SelectionDiagnosis | None = None
    for number in range(settings.frames):
        tools.on_progress(number / settings.frames, f"view {number + 1}/{settings.frames}: looking for holes")
        scored = score_candidates(scene, views, tools.renderer)
        coverage.append(scored.coverage)
        ratios = scored.ratios
        choice = select_pose(ratios, chosen, settings.band)
        if choice is None or choice.by_fallback:
            diagnosis = diagnose(ratios, chosen, settings.band, number)
        if choice is None:
            break
        chosen.append(choice.index)
        log.info("%s", selection_line(number, settings.frames, choice))
        holed = render_holed_view(scene, views[choice.index], scored.holes[choice.index].pixels, tools.renderer)
        tools.on_progress((number + 0.2) / settings.frames, f"view {number + 1}/{settings.frames}: filling")
        frame, occluded = fill_view(holed, frames, settings, tools, seed + number)
        frames.append(frame)
        pictures.append(training_view(frame, scene.device))
        tools.on_progress((number + 0.3) / settings.frames, f"view {number + 1}/{settings.frames}: optimising")
        scene, loss, added = grow(scene, frames, pictures, settings, tools, seed + number)
        extra.append(_extra_frame(choice, holed, frame, occluded, added, loss))
        tools.on_growth(scene, frames)
    coverage.append(score_candidates(scene, views, tools.renderer).coverage)
    scene, gaps = close_gaps(scene, frames, views, settings, tools, seed + settings.frames)
    summary = CoarseSummary(
        requested_extra_frames=settings.frames,
        frames=tuple(extra),
        diagnosis=diagnosis,
        scene_frames=len(frames),
        gaussian_frames=sum(bool(frame.inpaint_without_edge.any()) for frame in frames),
        total_splats=len(scene),
        coverage=tuple(coverage),
        gap_views=gaps,
    )
    return Expansion(scene, frames, summary)


def selection_line(number: int, requested: int, choice: Choice) -> str:
    """The log line of one selection; number counts from 0."""
    mode = " (fallback_mode=closest)" if choice.by_fallback else ""
    return (
        f"[COARSE] selected view {number + 1}/{requested}: dense_pose_index={choice.index} "
        f"inpaint_ratio={choice.ratio:.4f}{mode}"
    )


def close_gaps(
    scene: GaussianScene,
    frames: Sequence[Frame],
    views: Sequence[Camera],
    settings: ExpansionSettings,
    tools: ExpansionTools,
    seed: int,
) -> tuple[GaussianScene, tuple[GapView, ...]]:
    """Fills what is left over at the poses that show most of it, specks included; nothing is optimised.

    While the loop adds views, later ones may cover a speck. Nothing comes after the gaps, and a speck that stays open
    is a dark dot in the video. Only gaps too small for the band are closed: a view that is largely empty needs a real
    view or less motion, and the quality gate must see it.
    """
    closed: list[GapView] = []
    gaps = Band(min(SMALLEST_GAP, settings.band.minimum), settings.band.minimum, adjacent_exclusion=0)
    for number in range(settings.gap_views):
        tools.on_progress(0.95 + 0.05 * number / settings.gap_views, f"closing gaps {number + 1}/{settings.gap_views}")
        scored = score_candidates(scene, views, tools.renderer, specks=True)
        choice = select_pose(scored.ratios, [gap.dense_pose_index for gap in closed], gaps)
        if choice is None:
            break
        holed = render_holed_view(scene, views[choice.index], scored.holes[choice.index].pixels, tools.renderer)
        frame, _ = fill_view(holed, frames, settings, tools, seed)
        added = gaussians_of(_without_occluders(frame, frames), GAP_OPACITY, scene.device)
        scene = behind_photograph(GaussianScene.concatenate([scene, added]), len(scene), frames[0])
        closed.append(GapView(choice.index, choice.ratio, len(added)))
    return scene, tuple(closed)


def _without_occluders(frame: Frame, frames: Sequence[Frame]) -> Frame:
    """The frame with the pixels of its hole behind what the other frames see.

    A small gap beside an object takes the object's depth and hides what the photograph shows there. A round drops such
    pixels, and later rounds may fill them. Nothing comes after a gap: it would stay open, and black.
    """
    usable = frame.inpaint & frame.confident & on_surface(frame.depth)
    references = [(known.depth, known.camera) for known in frames]
    farthest = max(float(view.depth.max()) for view in (frame, *frames))
    filled = moved_behind(np.where(usable, frame.depth, 0.0), frame.camera, references, farthest)
    return replace(frame, depth=np.where(usable, filled, frame.depth), inpaint_without_edge=filled > 0)


def score_candidates(scene: GaussianScene, views: Sequence[Camera], renderer: Renderer, specks: bool = False) -> _Round:
    """Draws all views and looks for their holes, on request down to single pixels."""
    pixels, uncovered, holes = 0, 0, []
    # OpenCV and numpy work outside of the interpreter's lock: while a GPU draws a batch, threads look at the last one.
    with ThreadPoolExecutor() as pool:
        for (below,) in arrived(_uncovered(scene, views, renderer)):
            pixels, uncovered = pixels + below.size, uncovered + int(np.count_nonzero(below))
            holes += [pool.submit(_Hole.of, view, specks) for view in below]
    return _Round([hole.result() for hole in holes], (pixels - uncovered) / pixels)


def _uncovered(scene: GaussianScene, views: Sequence[Camera], renderer: Renderer) -> Iterator[HostCopy]:
    """(B, H, W) bool of each batch."""
    for start in range(0, len(views), CANDIDATES_PER_BATCH):
        with torch.no_grad():
            alphas = renderer.render(scene, views[start : start + CANDIDATES_PER_BATCH]).alpha
            below = alphas < COVERED_ALPHA
        yield HostCopy.of(below)


def render_holed_view(scene: GaussianScene, camera: Camera, hole: NDArray[np.bool_], renderer: Renderer) -> HoledView:
    """Renders one view without its hole, (H, W)."""
    with torch.no_grad():
        rendering = renderer.render(scene, [camera])
        # Unmixed with black, where it is half-transparent.
        srgb = (rendering.rgb[0] / rendering.alpha[0].clamp(min=COVERED_ALPHA)[..., None]).clamp(0, 1)
    seen, depth = HostCopy.of(srgb, rendering.depth[0]).arrays()
    return HoledView(camera, seen, np.where(hole, np.float32(0), depth), hole)


def fill_view(
    holed: HoledView, frames: Sequence[Frame], settings: ExpansionSettings, tools: ExpansionTools, seed: int
) -> tuple[Frame, int]:
    """Fills colour and depth of a view; returns the frame and how many filled pixels would have hidden known ones."""
    if tools.predict_depth is not None:
        srgb = tools.fill_colour(holed, seed)
        depth = fill_depth(holed, tools.predict_depth(holed, srgb), frames, settings.edge_threshold)
    else:
        # Depth here does not depend on the filled colours: the CPU fills it while a GPU fills the colours.
        with ThreadPoolExecutor(1) as beside:
            filling = beside.submit(_fill_depth_when_busy, tools.renderer.device, holed, frames, settings)
            srgb = tools.fill_colour(holed, seed)
            depth = filling.result()
    frame = Frame("coarse", srgb, depth.depth, holed.hole, depth.usable & ~depth.hides, depth.confident, holed.camera)
    return frame, int(depth.hides.sum())


def _fill_depth_when_busy(
    device: torch.device, holed: HoledView, frames: Sequence[Frame], settings: ExpansionSettings
) -> FilledDepth:
    """`fill_depth`, started once the GPU is busy: until then the host prepares its work in the one interpreter."""
    wait_until_busy(device)
    return fill_depth(holed, None, frames, settings.edge_threshold)


@dataclass(frozen=True, eq=False)
class FilledDepth:
    """Depth of a whole view.

    Attributes:
        depth: (H, W) float32 metres, 0 where there is none.
        confident: (H, W) bool, where there is one.
        usable: (H, W) bool, pixels of the hole that lie on a surface.
        hides: (H, W) bool, those of them that would hide what another frame sees.
    """

    depth: NDArray[np.float32]
    confident: NDArray[np.bool_]
    usable: NDArray[np.bool_]
    hides: NDArray[np.bool_]


def fill_depth(
    holed: HoledView, predicted: NDArray[np.float32] | None, frames: Sequence[Frame], edge_threshold: float
) -> FilledDepth:
    """Fills the depth of a view's hole and says what of it may become Gaussians."""
    depth = connect_depth(holed, predicted)
    confident = np.isfinite(depth) & (depth > 0)
    depth = np.where(confident, depth, 0.0).astype(np.float32)
    depth = np.where(holed.hole, snap_edge_depth(depth, edge_threshold), depth)
    usable = holed.hole & confident & on_surface(depth)
    hides = occludes(np.where(usable, depth, 0.0), holed.camera, [(frame.depth, frame.camera) for frame in frames])
    return FilledDepth(depth, confident, usable, hides)


def connect_depth(holed: HoledView, predicted: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """Depth of the whole view: rendered where known (to the last bit), connected to it in the hole.

    Only the background of the rim binds the hole; without any, the whole rim does. A prediction is fitted to all that
    is known: the background alone, often one plane, would leave its scale open.
    """
    known = ~holed.hole & (holed.depth > 0)
    background = known & background_side(holed.depth, holed.hole)
    rendered = np.where(known, holed.depth, np.nan).astype(np.float32)
    guess = predicted if predicted is not None else np.full_like(holed.depth, float(np.nanmedian(rendered)))
    return smooth_connect(guess, rendered, background if background.any() else known)


def grow(
    scene: GaussianScene,
    frames: Sequence[Frame],
    pictures: Sequence[View],
    settings: ExpansionSettings,
    tools: ExpansionTools,
    seed: int,
) -> tuple[GaussianScene, float, int]:
    """Adds the Gaussians of the newest frame, freezes the older ones and optimises; returns the mean final loss.

    pictures are the frames as training views.
    """
    added = gaussians_of(frames[-1], settings.opacity, scene.device)
    if len(added) == 0:
        return scene, float("nan"), 0
    grown = GaussianScene.concatenate([scene, added])
    result = optimise(
        grown,
        pictures,
        settings.optimisation,
        seed=seed,
        renderer=tools.renderer,
        trainable=slice(len(scene), len(grown)),
    )
    tail = result.losses[-max(1, len(result.losses) // 10) :]
    grown = behind_photograph(result.scene, len(scene), frames[0])
    return grown, float(tail.mean()) if len(tail) else float("nan"), len(added)


def behind_photograph(scene: GaussianScene, first: int, photograph: Frame) -> GaussianScene:
    """The scene with its Gaussians from row `first` on moved behind what the photograph shows.

    Where one would lie in front of the photograph's surface, or less than 2 % behind it, it moves back along the
    photograph's own ray: other views see it where it was, the photograph keeps its pixels.
    """
    camera = photograph.camera
    means = scene.means[first:].double().cpu().numpy()
    pixels, distance = project(means, camera)
    surface = sample_nearest(photograph.depth, pixels) * (1 + LAG_BEHIND_PHOTOGRAPH)
    stretch = np.where(np.nan_to_num(surface - distance, nan=-1.0) > 0, surface / distance, 1.0)
    moved = camera.position + (means - camera.position) * stretch[:, None]
    kept = scene.means[:first]
    return replace(scene, means=torch.cat([kept, torch.as_tensor(moved, dtype=kept.dtype, device=kept.device)]))


def _extra_frame(choice: Choice, holed: HoledView, frame: Frame, occluded: int, added: int, loss: float) -> ExtraFrame:
    return ExtraFrame(
        dense_pose_index=choice.index,
        inpaint_ratio=choice.ratio,
        inpaint_pixels=int(holed.hole.sum()),
        inpaint_wo_edge_pixels=int(frame.inpaint_without_edge.sum()) + occluded,
        occluded_pixels=occluded,
        added_splats=added,
        by_fallback=choice.by_fallback,
        final_loss=loss,
    )
