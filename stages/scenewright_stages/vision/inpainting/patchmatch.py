"""Multi-scale patch completion: every hole pixel gets the known pixel whose surroundings fit best.

Expectation-maximisation over a pyramid as in Wexler, Shechtman and Irani (PAMI 2007): search the best source patch of
every patch that touches the hole, let all patches over a pixel vote for its colour, repeat, go to the next finer level.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.inpainting import patch_kernels as kernels
from scenewright_stages.vision.inpainting.pyramid import CHANNELS, LAB_STEPS, Level


@dataclass(frozen=True)
class PatchSettings:
    """Recipe of the search.

    radius: half side of a patch (3 = 7x7 pixels).
    rounds: search-and-vote rounds per level, coarsest first; the last entry serves all finer levels.
    reaches: distance (pixels) of the far neighbours that propose their offsets, one pass each.
    draws: random sources tried per pass.
    penalty: cost of one pixel of offset in squared Lab units, relative to the level's diagonal.
    confidence_decay: weight of a vote one pixel deeper inside the hole, relative to the one before.
    """

    radius: int = 3
    rounds: tuple[int, ...] = (10, 8, 6, 4, 3)
    reaches: tuple[int, ...] = (8, 2, 4)
    draws: int = 6
    penalty: float = 100.0
    confidence_decay: float = 1.1


@dataclass
class _Field:
    """Search state of one level; arrays as described in `patch_kernels`."""

    features: NDArray[np.int16]
    compared: NDArray[np.int16]
    valid: NDArray[np.bool_]
    sources: NDArray[np.int32]
    targets: NDArray[np.int32]
    is_target: NDArray[np.bool_]
    hole_pixels: NDArray[np.int32]
    confidence: NDArray[np.float32]
    compared_count: NDArray[np.float32]
    source: NDArray[np.int32]
    cost: NDArray[np.int64]
    radius: int
    penalty: float


def complete_levels(levels: list[Level], seed: int, settings: PatchSettings) -> NDArray[np.int32]:
    """(H, W, 2) int32 row and column of the pixel to copy into each hole pixel of `levels[0]`.

    Outside the hole the result is the pixel's own position. Every named source is an allowed pixel.
    """
    coarser: _Field | None = None
    for depth, level in enumerate(reversed(levels)):
        field = _start(level, settings, coarser)
        rounds = settings.rounds[min(depth, len(settings.rounds) - 1)]
        _improve(field, rounds, seed * 1_000_003 + depth, settings)
        coarser = field
    assert coarser is not None
    source = _own_positions(levels[0].shape)
    kernels.choose_sources(
        coarser.hole_pixels, coarser.radius, coarser.is_target, coarser.source, _cost_per_value(coarser), source
    )
    return source


def _improve(field: _Field, rounds: int, seed: int, settings: PatchSettings) -> None:
    if len(field.targets) == 0:
        return
    next_source, next_cost = field.source.copy(), field.cost.copy()
    for turn in range(rounds):
        kernels.score_field(
            field.features, field.compared, CHANNELS, field.radius, field.targets, field.source, field.cost,
            field.penalty,
        )  # fmt: skip
        for part, reach in enumerate(settings.reaches):
            kernels.search_pass(
                field.features, field.compared, CHANNELS, field.radius, field.valid, field.sources, field.targets,
                field.is_target, field.source, field.cost, next_source, next_cost, reach, settings.draws,
                (seed * 7919 + turn * 31 + part) & 0x7FFFFFFF, field.penalty,
            )  # fmt: skip
            field.source, next_source = next_source, field.source
            field.cost, next_cost = next_cost, field.cost
        _vote(field)


def _vote(field: _Field) -> None:
    cost = _cost_per_value(field)
    spread = max(float(np.quantile(cost[field.is_target], 0.75)), 1.0)
    weight = (field.confidence * np.exp(-cost / (2.0 * spread))).astype(np.float32)
    proposal = field.features.copy()
    kernels.vote(
        field.features, CHANNELS, field.radius, field.hole_pixels, field.is_target, field.source,
        np.maximum(weight, 1e-20), proposal,
    )  # fmt: skip
    field.features = proposal


def _cost_per_value(field: _Field) -> NDArray[np.float32]:
    """Cost per compared pixel: makes patches cut by the image border comparable with whole ones."""
    return (field.cost / field.compared_count).astype(np.float32)


def _start(level: Level, settings: PatchSettings, coarser: _Field | None) -> _Field:
    radius, valid = _valid_centres(level, settings.radius)
    height, width = level.shape
    side = 2 * radius + 1
    is_target = cv2.dilate(level.hole.astype(np.uint8), np.ones((side, side), np.uint8)) > 0
    compared = level.hole | level.allowed
    count = cv2.boxFilter(
        compared.astype(np.float32), -1, (side, side), normalize=False, borderType=cv2.BORDER_CONSTANT
    )
    distance = cv2.distanceTransform(level.hole.astype(np.uint8), cv2.DIST_L2, 5)
    guess = _reflected(level) if coarser is None else _doubled(coarser.source, level.shape)
    diagonal = float(np.hypot(height, width))
    field = _Field(
        features=np.ascontiguousarray(level.features.reshape(height, width * CHANNELS)),
        compared=np.repeat(compared.astype(np.int16), CHANNELS, axis=1),
        valid=valid,
        sources=np.argwhere(valid).astype(np.int32),
        targets=np.argwhere(is_target).astype(np.int32),
        is_target=is_target,
        hole_pixels=np.argwhere(level.hole).astype(np.int32),
        confidence=(settings.confidence_decay**-distance).astype(np.float32),
        compared_count=np.maximum(count, 1.0),
        source=_nearest_valid(guess, valid),
        cost=np.full((height, width), kernels.FAR, np.int64),
        radius=radius,
        penalty=settings.penalty * LAB_STEPS**2 / diagonal,
    )
    field.cost[is_target] = 0
    _vote(field)
    return field


def _valid_centres(level: Level, radius: int) -> tuple[int, NDArray[np.bool_]]:
    """Largest radius up to `radius` with at least one source patch wholly in the image and allowed, and the centres."""
    for smaller in range(radius, -1, -1):
        side = 2 * smaller + 1
        valid = (
            cv2.erode(
                level.allowed.astype(np.uint8),
                np.ones((side, side), np.uint8),
                borderType=cv2.BORDER_CONSTANT,
                borderValue=0,
            )
            > 0
        )
        if valid.any():
            return smaller, valid
    raise ValueError("level without an allowed pixel")


def _own_positions(shape: tuple[int, int]) -> NDArray[np.int32]:
    return np.stack(np.indices(shape), axis=-1).astype(np.int32)


def _reflected(level: Level) -> NDArray[np.int32]:
    """Every pixel mirrored at the nearest allowed one: continues what touches the hole."""
    own = _own_positions(level.shape)
    return 2 * _nearest(own, level.allowed) - own


def _doubled(source: NDArray[np.int32], shape: tuple[int, int]) -> NDArray[np.int32]:
    """The coarser level's field at twice the size."""
    rows, columns = np.indices(shape)
    doubled = 2 * source[rows // 2, columns // 2]
    doubled[..., 0] += rows % 2
    doubled[..., 1] += columns % 2
    return doubled


def _nearest_valid(guess: NDArray[np.int32], valid: NDArray[np.bool_]) -> NDArray[np.int32]:
    return _nearest(guess, valid)


def _nearest(positions: NDArray[np.int32], mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """The true pixel of `mask` nearest to each position (clamped into the image)."""
    height, width = mask.shape
    rows = np.clip(positions[..., 0], 0, height - 1)
    columns = np.clip(positions[..., 1], 0, width - 1)
    _, labels = cv2.distanceTransformWithLabels(
        (~mask).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    places = np.zeros((int(labels.max()) + 1, 2), np.int32)
    places[labels[mask]] = np.argwhere(mask)
    return np.ascontiguousarray(places[labels[rows, columns]])
