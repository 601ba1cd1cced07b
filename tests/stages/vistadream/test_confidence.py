"""Predicted depth that is not trusted makes no Gaussians, in the coarse loop as on the border."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.backends.depth.interface import DepthEstimate
from scenewright_stages.scenes.preparation import Layout
from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.geometry.framing import outpaint_canvas, prepared_window
from scenewright_stages.vistadream.coarse import BackendDepth
from scenewright_stages.vistadream.expansion import HoledView, fill_depth
from scenewright_stages.vistadream.initialize import DepthPass, first_frames
from scenewright_stages.vistadream.params import VistaDreamParams

SIZE = 64
DOUBTFUL = (slice(24, 40), slice(28, 36))


class Halves:
    """A depth model that trusts all of its answer but for one patch."""

    record: Any = None

    def estimate(self, srgb: Any, field_of_view_degrees: float | None = None, provided: Any = None) -> DepthEstimate:
        depth = np.fromfunction(lambda row, column: 2 + 0.01 * column, srgb.shape[:2]).astype(np.float32)
        return DepthEstimate(depth, confidence(srgb.shape[:2]), None, is_metric=True)

    def release(self) -> None: ...


def confidence(shape: tuple[int, ...]) -> NDArray[np.float32]:
    values = np.full(shape, 0.9, np.float32)
    values[DOUBTFUL] = 0.2
    return values


def holed_view() -> HoledView:
    camera = Camera.from_field_of_view(SIZE, SIZE, 60.0)
    depth = np.fromfunction(lambda row, column: 2 + 0.01 * column, (SIZE, SIZE)).astype(np.float32)
    hole = np.zeros((SIZE, SIZE), np.bool_)
    hole[20:44, 24:40] = True
    return HoledView(camera, np.full((SIZE, SIZE, 3), 0.5, np.float32), np.where(hole, 0, depth), hole)


def test_the_loop_rejects_predictions_below_the_threshold() -> None:
    holed = holed_view()
    usable = {}
    for threshold in (0.1, 0.5):
        predicted = BackendDepth(Halves(), threshold)(holed, holed.srgb)
        usable[threshold] = fill_depth(holed, predicted, [], 0.01).usable
    assert usable[0.1][holed.hole].all()
    assert not usable[0.5][DOUBTFUL].any()
    kept = holed.hole.copy()
    kept[22:42, 26:38] = False
    assert usable[0.5][kept].all(), "what is trusted, and not beside what is not, is used"


def test_the_border_rejects_them_and_the_photograph_does_not() -> None:
    canvas = outpaint_canvas(SIZE, SIZE, 0.5)
    layout = Layout("outpaint", SIZE, SIZE, 60.0, prepared_window(SIZE, SIZE, SIZE), canvas)
    shape = (canvas.height, canvas.width)
    trusted = np.full(shape, 0.9, np.float32)
    trusted[:, : canvas.width // 2] = 0.2
    depth, nothing = np.full(shape, 3, np.float32), np.zeros(shape, np.bool_)
    depth_pass = DepthPass(depth, trusted, nothing, layout.canvas_camera(60.0).intrinsics)
    params = VistaDreamParams.model_validate({"mode": "outpaint", "depth": {"confidenceThreshold": 0.5}})
    photograph, border = first_frames(np.full((*shape, 3), 0.5, np.float32), depth_pass, layout, params)
    assert photograph.inpaint_without_edge.all()
    assert not border.inpaint_without_edge[:, : canvas.width // 2].any()
    assert border.inpaint_without_edge[:, canvas.width // 2 :].any()
