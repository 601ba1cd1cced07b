"""Work done in batches and beside a GPU gives what one thing after the other gives."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from scenewright_stages.scenes.flight import CAMERAS_PER_BATCH, COVERED_ALPHA, fly, hole_around
from scenewright_stages.scenes.frames import Frame
from scenewright_stages.vision.gaussians.objective import OptimisationSettings
from scenewright_stages.vision.gaussians.rendering import Rendering
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vistadream import expansion
from scenewright_stages.vistadream.expansion import (
    CANDIDATES_PER_BATCH,
    ExpansionSettings,
    ExpansionTools,
    HoledView,
    fill_depth,
    fill_view,
    score_candidates,
)
from scenewright_stages.vistadream.selection import Band

SIZE = 48
CAMERA = Camera.from_field_of_view(SIZE, SIZE, 60.0)
SCENE = GaussianScene(*(torch.zeros(shape) for shape in ((0, 3), (0, 3), (0, 4), (0,), (0, 1, 3))))


class Pictures:
    """A renderer whose picture depends on the camera's field of view alone."""

    name = "cpu"
    device = torch.device("cpu")

    def render(
        self, scene: GaussianScene, cameras: Sequence[Camera], background: torch.Tensor | None = None
    ) -> Rendering:
        shades = [self.alpha(camera) for camera in cameras]
        alpha = torch.stack(shades)
        return Rendering(alpha[..., None].expand(-1, -1, -1, 3), 2 * alpha, alpha)

    def alpha(self, camera: Camera) -> torch.Tensor:
        seed = round(1000 * camera.focal[0])
        noise = torch.rand(SIZE // 8, SIZE // 8, generator=torch.Generator().manual_seed(seed))
        return noise.repeat_interleave(8, 0).repeat_interleave(8, 1)


def cameras(count: int) -> list[Camera]:
    return [Camera.from_field_of_view(SIZE, SIZE, 40.0 + 0.5 * number) for number in range(count)]


@pytest.mark.parametrize("count", [1, CANDIDATES_PER_BATCH, 2 * CANDIDATES_PER_BATCH + 3])
def test_candidates_in_batches_score_like_candidates_one_by_one(count: int) -> None:
    renderer = Pictures()
    scored = score_candidates(SCENE, cameras(count), renderer)
    alphas = [renderer.alpha(camera).numpy() for camera in cameras(count)]
    holes = [hole_around(alpha < COVERED_ALPHA) for alpha in alphas]
    assert scored.ratios == [float(hole.mean()) for hole in holes]
    for found, hole in zip(scored.holes, holes, strict=True):
        np.testing.assert_array_equal(found.pixels, hole)
    assert scored.coverage == float((np.stack(alphas) >= COVERED_ALPHA).mean())
    assert len(set(scored.ratios)) > count // 4, "candidates must differ, or their order could not be told"


@pytest.mark.parametrize("count", [1, CAMERAS_PER_BATCH, 2 * CAMERAS_PER_BATCH + 3])
def test_a_flight_in_batches_keeps_its_frames_in_order(count: int) -> None:
    renderer = Pictures()
    flight = fly(SCENE, cameras(count), renderer, lambda share, text: None)
    alphas = np.stack([renderer.alpha(camera).numpy() for camera in cameras(count)])
    np.testing.assert_array_equal(flight.depth, 2 * alphas)
    np.testing.assert_array_equal(flight.srgb[..., 1], np.rint(alphas * 255))
    assert flight.uncovered == [float((alpha < COVERED_ALPHA).mean()) for alpha in alphas]


def holed_view() -> HoledView:
    depth = np.fromfunction(lambda row, column: 2 + 0.01 * column, (SIZE, SIZE)).astype(np.float32)
    hole = np.zeros((SIZE, SIZE), np.bool_)
    hole[10:30, 20:40] = True
    return HoledView(CAMERA, np.full((SIZE, SIZE, 3), 0.5, np.float32), np.where(hole, 0, depth), hole)


def settings() -> ExpansionSettings:
    return ExpansionSettings(1, Band(), 0, OptimisationSettings(iterations=1), 0.01)


def fill_with(colours: list[threading.Thread]) -> object:
    def fill(view: HoledView, seed: int) -> NDArray[np.float32]:
        colours.append(threading.current_thread())
        return np.where(view.hole[..., None], np.float32(0.2), view.srgb)

    return fill


def test_depth_filled_beside_the_colours_is_the_depth_filled_after_them() -> None:
    holed, threads = holed_view(), []  # type: ignore[var-annotated]
    behind = Frame("input", holed.srgb, np.full_like(holed.depth, 9), holed.hole, holed.hole, holed.hole, CAMERA)
    tools = ExpansionTools(Pictures(), fill_with(threads), None, lambda share, text: None)  # type: ignore[arg-type]
    frame, hidden = fill_view(holed, [behind], settings(), tools, 0)
    alone = fill_depth(holed, None, [behind], settings().edge_threshold)
    np.testing.assert_array_equal(frame.depth, alone.depth)
    np.testing.assert_array_equal(frame.inpaint_without_edge, alone.usable & ~alone.hides)
    assert hidden == int(alone.hides.sum()) == int(holed.hole.sum())
    # A model must run where it was loaded.
    assert threads == [threading.current_thread()]


def test_an_error_in_the_depth_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ArithmeticError("no depth")

    monkeypatch.setattr(expansion, "fill_depth", broken)
    tools = ExpansionTools(Pictures(), fill_with([]), None, lambda share, text: None)  # type: ignore[arg-type]
    with pytest.raises(ArithmeticError, match="no depth"):
        fill_view(holed_view(), [], settings(), tools, 0)
