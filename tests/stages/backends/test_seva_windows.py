"""Which frames SEVA sees together, against lists that the published code made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scenewright_stages.backends.novel_views.seva.sampling import rotation_angles
from scenewright_stages.backends.novel_views.seva.windows import (
    WINDOW,
    Window,
    anchor_places,
    between_anchors,
    first_pass,
    padded,
    second_pass,
)
from scenewright_stages.vision.geometry.cameras import Camera, rigid
from scenewright_stages.vision.places.worlds.motions import TARGETS, turned

INPUTS = 8
GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "seva_windows.json").read_text())
"""Windows as numbers: known frames from 0, targets from -1 downwards."""


def as_numbers(windows: list[Window]) -> list[list[int]]:
    return [[place.number if place.known else -1 - place.number for place in window] for window in windows]


def golden_case(targets: int, memory: int) -> tuple[list[Camera], list[bool]]:
    """Cameras of the memory and of 13 anchors, and which of the memory may be seen, as the golden lists were made."""
    draws = np.random.default_rng(1000 * targets + memory)
    lens = Camera.from_field_of_view(64, 64, 60.0)
    cameras = [
        lens.with_pose(rigid(turned(*draws.uniform((-180, -60), (180, 60))).T, np.zeros(3))) for _ in range(memory + 13)
    ]
    views, current = draws.integers(0, 8, memory), draws.integers(0, 8)
    return cameras, [(view - current) % 8 not in (3, 4, 5) for view in views]


@pytest.mark.parametrize("targets", [45, 135])
def test_the_first_pass_sees_what_the_published_code_sees(targets: int) -> None:
    assert len(GOLDEN[f"first_{targets}"]) == 61
    for memory, expected in enumerate(GOLDEN[f"first_{targets}"]):
        cameras, usable = golden_case(targets, memory)
        angles = rotation_angles(cameras, cameras[memory:])
        assert as_numbers(first_pass(INPUTS, angles, memory, usable)) == expected, f"{memory} frames of memory"


@pytest.mark.parametrize("targets", [45, 135])
def test_the_second_pass_equals_the_published_one(targets: int) -> None:
    assert as_numbers(between_anchors(targets, INPUTS)) == GOLDEN[f"second_{targets}"]


def test_rounded_times_group_other_frames_than_the_published_code() -> None:
    rounded = as_numbers(second_pass(anchor_places(135, INPUTS), range(135)))
    assert rounded != GOLDEN["second_135"]


def test_a_scene_takes_303_forwards() -> None:
    """The first of 32 paths has no memory; all others have some."""
    forwards = 0
    for path in range(32):
        targets = list(TARGETS.values())[path % 4]
        cameras, _ = golden_case(targets, 11 * min(path, 5))
        memory = len(cameras) - 13
        angles = rotation_angles(cameras, cameras[memory:])
        forwards += len(first_pass(INPUTS, angles, memory, [True] * memory))
        forwards += len(between_anchors(targets, INPUTS))
    assert forwards == 303


@pytest.mark.parametrize("targets", [1, 2, 5, 13, 14, 15, 45, 80, 135, 300])
@pytest.mark.parametrize("inputs", [1, 8])
def test_every_target_is_drawn_once_between_two_anchors(targets: int, inputs: int) -> None:
    places = anchor_places(targets, inputs)
    assert len(places) == len(set(places)) <= targets and places[-1] == targets - 1
    windows = between_anchors(targets, inputs)
    if len(places) == targets:
        assert windows == []
        return
    drawn = [place.number for window in windows for place in window if not place.known]
    assert drawn == list(range(targets))
    for window in windows:
        assert len(window) <= WINDOW
        assert window[0].known and window[-1].known


def test_a_window_is_filled_with_its_last_frame() -> None:
    window = second_pass([0.0, 4.0], range(5))[0]
    filled = padded(window)
    assert len(filled) == WINDOW and filled[: len(window)] == window and set(filled[len(window) :]) == {window[-1]}


def test_too_few_anchors_are_refused() -> None:
    with pytest.raises(ValueError, match="more than 19"):
        second_pass([0.0, 30.0], range(31))
