"""The Rerun recording, read back by Rerun's own reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rerun as rr
from report_scenes import CAMERA, gradient_picture, three_clusters
from rerun.chunk import RrdReader

from scenewright_stages.scenes import rerun
from scenewright_stages.scenes.recorded import RerunFrame, RerunScene, RerunView
from scenewright_stages.scenes.rerun import rrd_bytes, write_rrd
from scenewright_stages.vision.geometry.cameras import Camera, look_at

pytestmark = pytest.mark.filterwarnings("ignore:RRD file has no footer")


def view(name: str, camera: Camera = CAMERA) -> RerunView:
    picture = gradient_picture(camera.width, camera.height)
    depth = 2 + picture[..., 0]
    depth[:20] = np.nan
    mask = picture[..., 1] > 0.5
    return RerunView(name, camera, picture, depth, np.ones_like(depth), mask, mask & (picture[..., 0] > 0.2))


def scene(camera: Camera = CAMERA, frames: int = 3, coarse: int = 2) -> RerunScene:
    away = camera.with_pose(look_at((0.5, 0, 0), (0, 0, 3)))
    path = [camera.with_pose(look_at((x, 0, 0), (0, 0, 3))) for x in np.linspace(-0.2, 0.2, frames)]
    picture = gradient_picture(camera.width, camera.height)
    return RerunScene(
        "3f9ac02be11d",
        (view("input", camera), view("outpaint", camera.expanded(20))),
        tuple(view(f"view {number}", away) for number in range(1, coarse + 1)),
        three_clusters(),
        tuple(RerunFrame(pose, picture, 2 + picture[..., 0]) for pose in path),
    )


def chunks_of(path: Path, kind: str) -> dict[str, dict[str, list[Any]]]:
    """Component values by entity path; chunks of one entity are joined."""
    reader = RrdReader(path)
    (store,) = reader.blueprints() if kind == "blueprint" else reader.recordings()
    found: dict[str, dict[str, list[Any]]] = {}
    for chunk in reader.stream(store=store).to_chunks():
        found.setdefault(chunk.entity_path, {}).update(chunk.to_record_batch().to_pydict())
    return found


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rerun") / "scene.rrd"
    write_rrd(path, scene())
    return path


@pytest.fixture(scope="module")
def layout(recorded: Path) -> dict[str, dict[str, list[Any]]]:
    return chunks_of(recorded, "blueprint")


def test_every_camera_has_its_panels_and_the_splats_are_one_entity(recorded: Path) -> None:
    data = chunks_of(recorded, "recording")
    for camera in ("initialization/cameras/input", "initialization/cameras/outpaint", "coarse/cameras/view\\ 2"):
        for panel in ("rgb", "depth", "confidence", "inpaint_mask", "inpaint_wo_edge"):
            assert f"/world/{camera}/{panel}" in data
        assert "Pinhole:image_from_camera" in data[f"/world/{camera}"]
        assert "Transform3D:translation" in data[f"/world/{camera}"]
    assert [path for path in data if "splats" in path] == ["/world/splats"]
    assert len(data["/world/splats"]["Points3D:positions"][0]) == len(three_clusters())


def test_splat_colours_and_places_are_the_scene_s(recorded: Path) -> None:
    splats = chunks_of(recorded, "recording")["/world/splats"]
    cloud = three_clusters()
    np.testing.assert_allclose(splats["Points3D:positions"][0], cloud.means, atol=1e-6)
    first = int(splats["Points3D:colors"][0][0])
    np.testing.assert_allclose([first >> 24 & 255, first >> 16 & 255, first >> 8 & 255], cloud.srgb[0] * 255, atol=1)


def test_the_final_path_is_a_timeline_of_pictures_depths_and_cameras(recorded: Path) -> None:
    data = chunks_of(recorded, "recording")
    for entity, component in (
        ("/world/final/camera", "Pinhole:resolution"),
        ("/world/final/camera/rgb", "EncodedImage:blob"),
        ("/world/final/camera/depth", "EncodedDepthImage:blob"),
    ):
        assert data[entity]["frame"] == [0, 1, 2]
        assert len(data[entity][component]) == 3
    x = [row[0][0] for row in data["/world/final/camera"]["Transform3D:translation"]]
    np.testing.assert_allclose(x, [-0.2, 0, 0.2], atol=1e-6)


def test_depth_survives_to_a_fraction_of_a_millimetre_and_unknown_depth_is_zero(recorded: Path) -> None:
    entity = chunks_of(recorded, "recording")["/world/initialization/cameras/input/depth"]
    levels = cv2.imdecode(np.array(entity["EncodedDepthImage:blob"][0][0], np.uint8), cv2.IMREAD_UNCHANGED)
    metres = levels / entity["EncodedDepthImage:meter"][0][0]
    assert (metres[:20] == 0).all()
    np.testing.assert_allclose(metres[20:], view("x").depth[20:], atol=1e-4)  # type: ignore[index]


def test_points_of_a_view_are_its_supervised_pixels_in_the_world(recorded: Path) -> None:
    points = np.array(chunks_of(recorded, "recording")["/world/coarse/points/view\\ 1"]["Points3D:positions"][0])
    shown = scene().coarse_views[0]
    local = points @ shown.camera.camera_from_world[:3, :3].T + shown.camera.camera_from_world[:3, 3]
    pixels = local @ shown.camera.intrinsics.T
    pixels = pixels[:, :2] / pixels[:, 2:] - 0.5
    np.testing.assert_allclose(pixels, np.rint(pixels), atol=1e-3)
    columns, rows = np.rint(pixels).astype(int).T
    assert shown.inpaint_mask is not None and shown.depth is not None
    assert shown.inpaint_mask[rows, columns].all()
    np.testing.assert_allclose(local[:, 2], shown.depth[rows, columns], rtol=1e-5)


def test_the_layout_has_the_three_tabs(layout: dict[str, dict[str, list[Any]]]) -> None:
    named = {
        path: values["ContainerBlueprint:display_name"][0][0]
        for path, values in layout.items()
        if values.get("ContainerBlueprint:display_name")
    }
    root = next(values for values in layout.values() if values.get("ContainerBlueprint:active_tab"))
    tabs = [named[f"/{path}"] for path in root["ContainerBlueprint:contents"][0]]
    assert tabs == ["Initialization", "Coarse Scene", "Final Scene"]


def test_3d_views_show_frusta_and_points_but_no_depth_or_masks(layout: dict[str, dict[str, list[Any]]]) -> None:
    queries = [
        values["ViewContents:query"][0]
        for path, values in layout.items()
        if path.endswith("/ViewContents") and values["ViewContents:query"][0][0] == "+ /world"
    ]
    assert len(queries) == 3
    for query in queries:
        for hidden in ("depth", "confidence", "inpaint_mask", "inpaint_wo_edge"):
            assert any(rule.startswith("- ") and rule.endswith(f"/{hidden}") for rule in query)
        assert not any(rule.startswith("- ") and rule.endswith(("/rgb", "/input", "/splats")) for rule in query)


def test_portrait_pictures_get_a_narrower_column_than_landscape_ones() -> None:
    (world_landscape, landscape), (world_portrait, portrait) = (
        rerun.column_shares(300, 200),
        rerun.column_shares(200, 300),
    )
    assert world_landscape == world_portrait
    assert landscape > 1.5 * portrait


def test_no_added_view_leaves_a_tab_that_says_so(tmp_path: Path) -> None:
    write_rrd(tmp_path / "a.rrd", scene(coarse=0))
    names = [values.get("ViewBlueprint:display_name") for values in chunks_of(tmp_path / "a.rrd", "blueprint").values()]
    assert [["No views were added"]] in names


def test_no_half_written_file_is_left_when_the_disk_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(OSError, match="No space left"):
        write_rrd(tmp_path / "a.rrd", scene())
    assert list(tmp_path.iterdir()) == []


def test_a_switched_off_sdk_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(rr.RecordingStream):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options, default_enabled=False)

    monkeypatch.setattr(rerun.rr, "RecordingStream", Silent)
    with pytest.raises(RuntimeError, match="RERUN"):
        rrd_bytes(scene())


def test_views_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must differ"):
        write_rrd(tmp_path / "a.rrd", RerunScene("id", (view("a"), view("a"))))
    with pytest.raises(ValueError, match="at least one"):
        write_rrd(tmp_path / "a.rrd", RerunScene("id", ()))
