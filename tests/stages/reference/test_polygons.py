"""Label polygons: two ways of filling give the mask back, where the usual formula loses."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from label_masks import area_fill, parse_labels, truncating_fill
from numpy.typing import NDArray

from scenewright_stages.reference.polygons import (
    label_line,
    polygon_of,
    run_lengths,
)

Mask = NDArray[np.bool_]
MASKS = 200


def blob(rng: np.random.Generator, radius: float) -> Mask:
    """A wavy disc."""
    side = int(radius * 2.8) + 8
    angles = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    waves = sum(rng.normal() * np.cos(k * angles + rng.uniform(0, 6)) / k for k in range(2, 6))
    reach = radius * (1 + 0.15 * waves)
    mask = np.zeros((side, side), np.uint8)
    points = np.stack([side / 2 + reach * np.cos(angles), side / 2 + reach * np.sin(angles)], axis=1)
    cv2.fillPoly(mask, [points.astype(np.int32)], 1)
    return mask > 0


def with_hole(rng: np.random.Generator, radius: float) -> Mask:
    mask = blob(rng, radius)
    middle = (int(len(mask) / 2 + rng.uniform(-0.2, 0.2) * radius), len(mask) // 2)
    hole = cv2.circle(np.zeros(mask.shape, np.uint8), middle, max(2, int(radius * rng.uniform(0.2, 0.5))), 1, -1)
    return mask & (hole == 0)


def in_parts(rng: np.random.Generator, radius: float) -> Mask:
    mask = blob(rng, radius)
    rows, columns = np.mgrid[: len(mask), : len(mask)]
    angle, middle = rng.uniform(0, np.pi), len(mask) / 2
    return mask & (
        np.abs((columns - middle) * np.cos(angle) + (rows - middle) * np.sin(angle)) > max(1.0, 0.06 * radius)
    )


def overlap(one: Mask, other: Mask) -> float:
    return float((one & other).sum() / max((one | other).sum(), 1))


def usual(mask: Mask) -> NDArray[np.float64]:
    """The largest outer contour, simplified: what data-set scripts write."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    largest = max(contours, key=cv2.contourArea)
    return cv2.approxPolyDP(largest, 0.002 * cv2.arcLength(largest, True), True)[:, 0].astype(np.float64)


@pytest.mark.parametrize(("kind", "least"), [(blob, 0.99), (with_hole, 0.98), (in_parts, 0.98)])
def test_both_fills_give_the_mask_back(kind, least: float) -> None:
    rng = np.random.default_rng(3)
    radii = np.exp(rng.uniform(np.log(12), np.log(200), MASKS))
    found, others = [], []
    for radius in radii:
        mask = kind(rng, radius)
        height, width = mask.shape
        ((number, polygon),) = parse_labels(label_line(7, polygon_of(mask), width, height), width, height)
        assert number == 7
        found.append([overlap(fill(polygon, width, height), mask) for fill in (truncating_fill, area_fill)])
        others.append(overlap(area_fill(usual(mask), width, height), mask))
    print(f"{kind.__name__}: least {np.min(found):.4f}, usual formula {np.min(others):.3f}")
    assert np.min(found) >= least
    assert np.min(others) < least, "the comparison says nothing"


def test_labels_have_six_decimals_and_stay_inside() -> None:
    mask = np.ones((40, 30), bool)
    line = label_line(0, polygon_of(mask), 30, 40)
    values = line.split()[1:]
    assert all(len(value.partition(".")[2]) == 6 and 0 <= float(value) <= 1 for value in values)
    assert len(polygon_of(np.zeros((9, 9), bool))) == 0


@pytest.mark.parametrize("first", [False, True])
def test_run_lengths_go_down_the_columns_and_begin_with_zeros(first: bool) -> None:
    mask = np.zeros((5, 4), bool)
    mask[1:3, 2] = True
    mask[0, 0] = first
    encoded = run_lengths(mask)
    flat = np.concatenate([np.full(count, at % 2 == 1) for at, count in enumerate(encoded["counts"])])
    assert np.array_equal(flat.reshape(4, 5).T, mask)
    assert encoded["size"] == [5, 4]
