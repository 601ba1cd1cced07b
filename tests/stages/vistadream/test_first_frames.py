"""What each mode runs, and the first two frames: one depth pass, whose middle is the photograph's."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from scenewright_stages.scenes.frames import Frame
from scenewright_stages.scenes.preparation import Layout
from scenewright_stages.vision.geometry.framing import outpaint_canvas, prepared_window
from scenewright_stages.vistadream.diagnostics import CoarseSummary, ExtraFrame, diagnose
from scenewright_stages.vistadream.expansion import selection_line
from scenewright_stages.vistadream.initialize import DepthPass, first_frames
from scenewright_stages.vistadream.params import RenderParams, VistaDreamParams
from scenewright_stages.vistadream.pipeline import stages
from scenewright_stages.vistadream.selection import Band, select_pose

WIDTH, HEIGHT = 96, 64
TYPES = {
    "srgb": (np.float32, (HEIGHT, WIDTH, 3)),
    "depth": (np.float32, (HEIGHT, WIDTH)),
    "inpaint": (np.bool_, (HEIGHT, WIDTH)),
    "inpaint_without_edge": (np.bool_, (HEIGHT, WIDTH)),
    "confident": (np.bool_, (HEIGHT, WIDTH)),
}


def canvas_frames(mode: str, depth: NDArray[np.float32] | None = None) -> tuple[Layout, list[Frame]]:
    """The frames of a photograph on a floor that rises away from the camera."""
    canvas = outpaint_canvas(WIDTH, HEIGHT, 0.0 if mode == "noOutpaint" else 0.5)
    layout = Layout(mode, WIDTH, HEIGHT, 60.0, prepared_window(WIDTH, HEIGHT, WIDTH), canvas)
    shape = (canvas.height, canvas.width)
    if depth is None:
        depth = np.fromfunction(lambda row, column: 4 + 0.01 * column + 0.02 * row, shape).astype(np.float32)
    trusted, nothing = np.ones(shape, np.float32), np.zeros(shape, np.bool_)
    depth_pass = DepthPass(depth, trusted, nothing, layout.canvas_camera(60.0).intrinsics)
    srgb = np.random.default_rng(0).random((*shape, 3), np.float32)
    return layout, first_frames(srgb, depth_pass, layout, VistaDreamParams.model_validate({"mode": mode}))


@pytest.mark.parametrize(
    ("mode", "chain", "kinds"),
    [
        ("noOutpaint", ["outpaint", "depth", "initialize", "render"], ["input"]),
        ("outpaint", ["outpaint", "depth", "initialize", "render"], ["input", "outpaint"]),
        ("fine", ["outpaint", "depth", "initialize", "render"], ["input", "outpaint"]),
        ("coarse", ["outpaint", "depth", "initialize", "coarse", "render"], ["input", "outpaint"]),
    ],
)
def test_each_mode_has_its_own_chain_and_first_views(mode: str, chain: list[str], kinds: list[str]) -> None:
    assert [stage.name for stage in stages(VistaDreamParams.model_validate({"mode": mode}))] == chain
    assert [frame.kind for frame in canvas_frames(mode)[1]] == kinds


def test_the_photograph_is_cut_out_of_the_one_depth_pass_with_its_principal_point() -> None:
    layout, (photograph, border) = canvas_frames("outpaint")
    np.testing.assert_array_equal(photograph.depth, border.depth[layout.canvas.inner])
    rows, columns = layout.canvas.inner[:2]
    assert (columns.start, rows.start) != (0, 0)
    moved = np.subtract(border.camera.principal_point, photograph.camera.principal_point)
    np.testing.assert_allclose(moved, (columns.start, rows.start))
    np.testing.assert_allclose(photograph.camera.focal, border.camera.focal)


def test_a_frame_has_the_buffers_of_the_contract_and_the_photograph_is_the_world() -> None:
    photograph, border = canvas_frames("outpaint")[1]
    for name, (kind, shape) in TYPES.items():
        buffer = getattr(photograph, name)
        assert (buffer.dtype, buffer.shape) == (kind, shape), name
    for frame in (photograph, border):
        assert frame.camera.intrinsics.shape == (3, 3)
        np.testing.assert_array_equal(frame.camera.camera_from_world, np.eye(4))


def test_all_of_the_photograph_and_only_the_ring_of_the_border_are_supervised() -> None:
    layout, (photograph, border) = canvas_frames("outpaint")
    assert photograph.inpaint.all()
    np.testing.assert_array_equal(border.inpaint, layout.canvas.hole())
    assert border.inpaint.any() and not border.inpaint[layout.canvas.inner].any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_an_invalid_depth_becomes_zero_and_no_gaussian(bad: float) -> None:
    canvas = outpaint_canvas(WIDTH, HEIGHT, 0.5)
    depth = np.full((canvas.height, canvas.width), 4, np.float32)
    row, column = canvas.inner[0].start + 20, canvas.inner[1].start + 30
    depth[row, column] = bad
    photograph, _ = canvas_frames("outpaint", depth)[1]
    assert photograph.depth[20, 30] == 0
    assert not photograph.inpaint_without_edge[20, 30]
    assert photograph.inpaint_without_edge.sum() == WIDTH * HEIGHT - 1


def test_a_pose_outside_the_band_is_marked_in_log_and_summary() -> None:
    band = Band(0.05, 0.25, 1, "closest")
    within, outside = select_pose([0.1, 0.3], [], band), select_pose([0.4, 0.3], [], band)
    assert within is not None and outside is not None
    assert selection_line(0, 3, within) == "[COARSE] selected view 1/3: dense_pose_index=0 inpaint_ratio=0.1000"
    assert selection_line(1, 3, outside).endswith("dense_pose_index=1 inpaint_ratio=0.3000 (fallback_mode=closest)")
    views = tuple(ExtraFrame(1, 0.3, 100, 90, 0, 80, by_fallback=by, final_loss=0.1) for by in (True, False))
    text = CoarseSummary(2, views, diagnose([0.4], [], band, 0), 4, 4, 10).text()
    marked, plain = (line for line in text.splitlines() if "added_splats=80" in line)
    assert marked.endswith("(fallback_mode=closest)") and not plain.endswith("(fallback_mode=closest)")
    for told in ("inpaint_pixels=100", "inpaint_wo_edge_pixels=90", "scene_frames=4 gaussian_frames=4 total_splats=10"):
        assert told in text


@pytest.mark.parametrize(
    ("path", "name"), [("", "gf.ply"), ("deep/model.ply", "deep/model.ply"), ("deep/folder/", "deep/folder/gf.ply")]
)
def test_a_folder_for_the_gaussians_gets_gf_ply(path: str, name: str) -> None:
    params = VistaDreamParams.model_validate({"render": RenderParams(gaussians_ply_path=path)})
    render = stages(params)[-1]
    assert next(output.path for output in render.outputs if output.name == "ply") == f"{{sample}}/{name}"
