"""Multi-scale patch completion: every hole pixel gets the known pixel whose surroundings fit best.

Expectation-maximisation over a pyramid as in Wexler, Shechtman and Irani (PAMI 2007): search the best source patch of
every patch that touches the hole, let all patches over a pixel vote for its colour, repeat, go to the next finer level.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.imaging.inpainting import patch_kernels as kernels
from scenewright_stages.vision.imaging.inpainting import pyramid
from scenewright_stages.vision.imaging.inpainting.continuation import continued
from scenewright_stages.vision.imaging.inpainting.pyramid import CHANNELS, LIVELINESS_WEIGHT, STEPS_PER_UNIT, Level


@dataclass(frozen=True)
class PatchSettings:
    """Recipe of the search.

    radius: half side of a patch (3 = 7x7 pixels).
    rounds: search-and-vote rounds per level, coarsest first; the last entry serves all finer levels.
    reaches: distance (pixels) of the far neighbours that propose their offsets, one pass each.
    draws: random sources tried per pass.
    offset_penalty: what copying from one image diagonal away costs, as a mean squared Lab difference.
    mirror_penalty: what copying a mirrored patch costs, as a mean squared Lab difference.
    guide_penalty: weight of the squared Lab difference between a patch's mean colour and the smooth extension of the
        known colours, relative to that of the patch itself.
    guide_reach: depth inside the hole (pixels of the finest level) at which that weight is down to 1/e: the smooth
        extension is right across a narrow gap and wrong far outside the picture.
    confidence_decay: weight of a patch one pixel deeper inside the hole is smaller by this factor.
    softness: excess of a patch over the best one, relative to it, at which its share in the final colour is 1/e.
    """

    radius: int = 3
    rounds: tuple[int, ...] = (10, 8, 6, 4, 3)
    reaches: tuple[int, ...] = (8, 2, 4)
    draws: int = 6
    offset_penalty: float = 40.0
    mirror_penalty: float = 20.0
    guide_penalty: float = 0.3
    guide_reach: float = 6.0
    confidence_decay: float = 1.6
    softness: float = 0.05


@dataclass
class _Field:
    """Search state of one level: best source and its cost per target, and what the votes weigh."""

    problem: kernels.Problem
    shape: tuple[int, int]
    source: NDArray[np.int32]
    cost: NDArray[np.int64]
    confidence: NDArray[np.float32]
    values_compared: NDArray[np.float32]


@dataclass(frozen=True)
class PatchVotes:
    """What the patches say about every hole pixel; arrays are only meaningful there.

    colours: (H, W, 3) float32 sRGB.
    steps: (H, W, 4, 3) float32, colour minus that of the neighbour above, below, left and right; NaN where
        no source has that neighbour.
    liveliness: (H, W) float32, that of the sources' lightness (see `pyramid`), before votes blurred it.
    """

    colours: NDArray[np.float32]
    steps: NDArray[np.float32]
    liveliness: NDArray[np.float32]


def complete_levels(levels: list[Level], srgb: NDArray[np.float32], seed: int, settings: PatchSettings) -> PatchVotes:
    """Search from the coarsest level to `levels[0]`, then vote the colours of `srgb` (H, W, 3), its picture."""
    guide = _guide(levels[-1])
    field = _start(levels[-1], _reflected(levels[-1]), guide, settings)
    field.problem.features[...] = _quantised(guide)
    _improve(field, settings.rounds[0], seed, settings)
    for depth, level in enumerate(reversed(levels[:-1]), start=1):
        field = _start(level, _doubled(field, level.shape), _guide(level), settings)
        rounds = settings.rounds[min(depth, len(settings.rounds) - 1)]
        _improve(field, rounds, seed + 1_000_003 * depth, settings)
    return _final_votes(field, levels[0], srgb, settings)


def _guide(level: Level) -> NDArray[np.float32]:
    """(H, W, C) float32 features with the smooth continuation of the allowed ones in the hole."""
    smooth = continued(level.features, level.allowed)
    return np.where(level.hole[..., None], smooth, level.features).astype(np.float32)


def _final_votes(field: _Field, level: Level, srgb: NDArray[np.float32], settings: PatchSettings) -> PatchVotes:
    kernels.score_field(field.problem, field.source, field.cost)
    colours = np.full_like(srgb, np.nan)
    steps = np.zeros((*srgb.shape[:2], 4, 3), np.float32)
    kernels.vote_colours(
        field.problem, pyramid.source_atlas(srgb), pyramid.source_atlas(level.allowed), field.source, _badness(field),
        np.float32(settings.softness), np.float32(STEPS_PER_UNIT**2 / 4), colours, steps,
    )  # fmt: skip
    voted = field.problem.features.reshape(*level.shape, CHANNELS)[..., -1]
    return PatchVotes(colours, steps, (voted / (STEPS_PER_UNIT * LIVELINESS_WEIGHT)).astype(np.float32))


def _improve(field: _Field, rounds: int, seed: int, settings: PatchSettings) -> None:
    next_source, next_cost = field.source.copy(), field.cost.copy()
    for turn in range(rounds):
        kernels.score_field(field.problem, field.source, field.cost)
        for part, reach in enumerate(settings.reaches):
            draw_seed = (seed * 7919 + turn * 31 + part) & 0x7FFFFFFF
            kernels.search_pass(
                field.problem, field.source, field.cost, next_source, next_cost, reach, settings.draws, draw_seed
            )  # fmt: skip
            field.source, next_source = next_source, field.source
            field.cost, next_cost = next_cost, field.cost
        _vote(field)


def _vote(field: _Field) -> None:
    """Votes fall off with the patch's cost (spread: its upper quartile) and with its depth inside the hole."""
    badness = _badness(field)
    spread = max(float(np.quantile(badness[field.problem.is_target], 0.75)), 1.0)
    weight = np.maximum(field.confidence * np.exp(-badness / (2.0 * spread)), 1e-20)
    weight = np.where(field.problem.is_target, weight, 0.0).astype(np.float32)
    kernels.vote(field.problem, field.source, weight, field.problem.features)


def _badness(field: _Field) -> NDArray[np.float32]:
    """Cost per compared value, infinite outside the targets: patches cut by the border compare with whole ones."""
    badness = field.cost / field.values_compared
    return np.where(field.problem.is_target, badness, np.inf).astype(np.float32)


def _start(level: Level, guess: NDArray[np.int32], guide: NDArray[np.float32], settings: PatchSettings) -> _Field:
    """Field of a level whose features inside the hole are the votes of the `guess`ed sources."""
    problem = _problem(level, guide, settings)
    compared = problem.compared[:, ::CHANNELS].astype(np.float32)
    side = 2 * problem.radius + 1
    count = cv2.boxFilter(compared, -1, (side, side), normalize=False, borderType=cv2.BORDER_CONSTANT)
    distance = cv2.distanceTransform(level.hole.astype(np.uint8), cv2.DIST_L2, 5)
    field = _Field(
        problem=problem,
        shape=level.shape,
        source=_nearest(guess, problem.valid),
        cost=np.zeros(level.shape, np.int64),
        confidence=(settings.confidence_decay**-distance).astype(np.float32),
        values_compared=np.maximum(count * CHANNELS, 1.0),
    )
    _vote(field)
    return field


def _problem(level: Level, guide: NDArray[np.float32], settings: PatchSettings) -> kernels.Problem:
    radius, valid = _valid_centres(pyramid.source_atlas(level.allowed), settings.radius)
    side = 2 * radius + 1
    is_target = cv2.dilate(level.hole.astype(np.uint8), np.ones((side, side), np.uint8)) > 0
    whole_patch = side * side * CHANNELS * STEPS_PER_UNIT**2
    features = _quantised(level.features)
    depth = cv2.distanceTransform(level.hole.astype(np.uint8), cv2.DIST_L2, 5) * level.scale
    guide_weight = settings.guide_penalty * whole_patch * np.exp(-depth / settings.guide_reach)
    return kernels.Problem(
        features=features,
        compared=np.repeat((level.hole | level.allowed).astype(np.int16), CHANNELS, axis=1),
        atlas=_quantised(pyramid.source_atlas(level.features)),
        valid=valid,
        valid_list=np.argwhere(valid).astype(np.int32),
        targets=np.argwhere(is_target).astype(np.int32),
        is_target=is_target,
        hole_pixels=np.argwhere(level.hole).astype(np.int32),
        channels=CHANNELS,
        radius=radius,
        offset_penalty=settings.offset_penalty * whole_patch / float(np.hypot(*level.shape)),
        mirror_penalty=settings.mirror_penalty * whole_patch,
        means=pyramid.source_atlas(_patch_means(level.features, side)),
        guide=np.dstack((_patch_means(guide, side), guide_weight)),
    )


def _patch_means(features: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """(H, W, 3) float32 mean Lab of the patch around each pixel."""
    return np.asarray(cv2.blur(features[..., :3], (side, side), borderType=cv2.BORDER_REPLICATE))


def _quantised(features: NDArray[np.float32]) -> NDArray[np.int16]:
    """(H, W, C) float32 -> (H, W*C) int16 for the exact integer distances of the kernels."""
    return np.asarray(np.rint(features * STEPS_PER_UNIT), np.int16).reshape(len(features), -1)


def _valid_centres(allowed: NDArray[np.bool_], radius: int) -> tuple[int, NDArray[np.bool_]]:
    """Largest radius up to `radius` with a source patch that is wholly allowed, and the centres of such patches."""
    for smaller in range(radius, 0, -1):
        window = np.ones((2 * smaller + 1, 2 * smaller + 1), np.uint8)
        eroded = cv2.erode(allowed.astype(np.uint8), window, borderType=cv2.BORDER_CONSTANT, borderValue=0)
        if eroded.any():
            return smaller, eroded > 0
    return 0, allowed


def _reflected(level: Level) -> NDArray[np.int32]:
    """Every pixel mirrored at the nearest allowed one, as a mirrored copy: continues what touches the hole."""
    own = np.moveaxis(np.indices(level.shape, dtype=np.int32), 0, -1)
    border = _nearest(own, level.allowed).astype(np.int64)
    down, across = np.abs(border - own)[..., 0], np.abs(border - own)[..., 1]
    height, width = level.shape
    rows = np.clip(2 * border[..., 0] - own[..., 0], 0, height - 1)
    columns = np.clip(2 * border[..., 1] - own[..., 1], 0, width - 1)
    block = np.where(2 * across > down, 1, 0) + np.where(2 * down > across, 2, 0)
    return pyramid.to_atlas(rows, columns, block, level.shape)


def _doubled(coarser: _Field, shape: tuple[int, int]) -> NDArray[np.int32]:
    """The coarser level's field at twice the size."""
    rows, columns, block = pyramid.from_atlas(coarser.source, coarser.shape)
    target_rows, target_columns = np.indices(shape)
    rows, columns, block = (part[target_rows // 2, target_columns // 2] for part in (rows, columns, block))
    odd_row, odd_column = target_rows % 2, target_columns % 2
    rows = np.minimum(2 * rows + np.where(block & 2, 1 - odd_row, odd_row), shape[0] - 1)
    columns = np.minimum(2 * columns + np.where(block & 1, 1 - odd_column, odd_column), shape[1] - 1)
    return pyramid.to_atlas(rows, columns, block, shape)


def _nearest(positions: NDArray[np.int32], mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """The true pixel of `mask` nearest to each position."""
    _, labels = cv2.distanceTransformWithLabels(
        (~mask).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    places = np.zeros((int(labels.max()) + 1, 2), np.int32)
    places[labels[mask]] = np.argwhere(mask)
    return np.ascontiguousarray(places[labels[positions[..., 0], positions[..., 1]]])
