"""Dark things stay opaque: what a fit makes half-transparent before black comes out of the flight as dark specks."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from scenewright_stages.scenes.frames import Frame
from scenewright_stages.vision.cameras import Camera, rigid
from scenewright_stages.vision.gaussians.renderers import renderer_for
from scenewright_stages.vistadream import initialize
from scenewright_stages.vistadream.initialize import initialize_scene
from scenewright_stages.vistadream.params import VistaDreamParams

PHOTOGRAPH = Path(__file__).parents[3] / "examples" / "inputs" / "china.jpg"
SHORE = np.s_[85:181, 150:294]
"""Roofs, a shore and boats, of the photograph 320 pixels wide."""
DEPTH, FORWARD = 2.0, 0.5
OPAQUE = 0.95
RENDERER = renderer_for("cpu")


@pytest.fixture(scope="module")
def frame() -> Frame:
    """A part of a photograph, as a board before the camera."""
    picture = cv2.imread(str(PHOTOGRAPH))
    assert picture is not None
    small = cv2.resize(picture, (320, 213), interpolation=cv2.INTER_AREA)[SHORE]
    srgb = np.ascontiguousarray(small[..., ::-1] / np.float32(255), np.float32)
    height, width = srgb.shape[:2]
    everything = np.ones((height, width), np.bool_)
    board = np.full((height, width), DEPTH, np.float32)
    camera = Camera.from_field_of_view(width, height, 30.0)
    return Frame("input", srgb, board, everything, everything, everything, camera)


def half_transparent(frame: Frame) -> tuple[float, float]:
    """Shares of pixels that the nothing behind them darkens: from the photograph's place, and from further forward."""
    scene, _ = initialize_scene([frame], VistaDreamParams(), RENDERER, seed=1)
    forward = frame.camera.with_pose(rigid(np.eye(3), (0.0, 0.0, -FORWARD)))
    with torch.no_grad():
        again, moved = (RENDERER.render(scene, [camera]).alpha[0] < OPAQUE for camera in (frame.camera, forward))
    return float(again.float().mean()), float(moved.float().mean())


def test_a_dark_picture_is_opaque_and_stays_so_when_the_camera_moves(
    frame: Frame, monkeypatch: pytest.MonkeyPatch
) -> None:
    again, moved = half_transparent(frame)
    monkeypatch.setattr(initialize, "COVERAGE_WEIGHT", 0.05)
    usual_again, usual_moved = half_transparent(frame)
    print(f"half-transparent: {again:.3f}, moved {moved:.3f}; the usual weight {usual_again:.3f}, {usual_moved:.3f}")
    assert again < 0.04 < usual_again
    assert moved < 0.5 * usual_moved
