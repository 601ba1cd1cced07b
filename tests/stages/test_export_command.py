"""``scenewright export``: of any PLY and of published results; and the stage that exists only when it is asked for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from scenewright_stages.contract.keys import stage_keys
from scenewright_stages.exports import STAGE, TARGET_NAMES, TARGETS, ExportParams, size_text
from scenewright_stages.pipelines import pipelines
from scenewright_stages.scenes.export import formats
from scenewright_stages.scenes.export.command import main
from scenewright_stages.scenes.export.formats import write_formats
from scenewright_stages.scenes.export.source import Source, orbit, read_source, rotation_between
from scenewright_stages.vision.gaussians.cpu_renderer import CpuRenderer
from scenewright_stages.vision.gaussians.formats.errors import FormatError
from scenewright_stages.vision.gaussians.formats.splat_transform import PROGRAM
from scenewright_stages.vision.gaussians.ply import read_ply, write_ply
from scenewright_stages.vision.gaussians.rotation import rotated
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.geometry.cameras import Camera, look_at

SCENES = ("vistadream", "reconstruct", "worldexplorer")
needs_converter = pytest.mark.skipif(not PROGRAM.is_file(), reason="splat-transform is not installed")


@pytest.fixture
def ply(tmp_path: Path) -> Path:
    """A coloured blob that looks different from every side."""
    random = torch.Generator().manual_seed(3)
    points = torch.randn(800, 3, generator=random) * torch.tensor([1.0, 0.6, 0.3])
    scene = GaussianScene.from_points(points, points * 0.3 + 0.5, torch.full((800,), 0.08), 0.9)
    write_ply(scene, tmp_path / "blob.ply")
    return tmp_path / "blob.ply"


@pytest.mark.parametrize("name", SCENES)
def test_without_the_block_there_is_no_stage_and_keys_are_as_before(name: str) -> None:
    pipeline = pipelines()[name]
    plain, asked = pipeline.parse({}), pipeline.parse({"export": {"to": ["spz", "mesh"], "copyright": "me"}})
    idle = pipeline.parse({"export": {"copyright": "me", "mesh": {"triangles": 500}}})
    keys = stage_keys(pipeline, plain, {}, 0)
    assert STAGE not in keys and stage_keys(pipeline, idle, {}, 0) == keys
    more = stage_keys(pipeline, asked, {}, 0)
    assert {each: key for each, key in more.items() if each != STAGE} == keys
    assert [each.name for each in pipeline.stages(asked)][-1] == STAGE
    other = pipeline.parse({"export": {"to": ["spz", "mesh"], "copyright": "you"}})
    assert stage_keys(pipeline, other, {}, 0)[STAGE] != more[STAGE]


def test_every_target_has_its_own_files() -> None:
    assert set(TARGETS) == set(TARGET_NAMES)
    files = [file for target in TARGETS.values() for file in target.files.values()]
    assert len(files) == len(set(files))


@pytest.mark.process
@needs_converter
def test_a_ply_of_any_program_is_exported_and_measured(
    ply: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "out"
    code = main([str(ply), "--to=spz,splat", "--to=glb,ply", f"--output={folder}", "--format=json", "--copyright=CC0"])
    found = json.loads(capsys.readouterr().out)["blob"]
    assert code == 0
    for name in ("spz", "splat", "glb", "ply"):
        (file,) = TARGETS[name].files.values()
        assert (folder / file).stat().st_size == found["formats"][name]["bytes"]
        assert found["formats"][name]["loss_db"] <= 0.3
    assert found["formats"]["spz"]["share_of_ply"] < 0.3
    assert read_ply(folder / "scene.ply").spherical_harmonics.shape[1] == 16
    metadata = json.loads((folder / "metadata.json").read_text())
    assert metadata["copyright"] == "CC0" and metadata["unit"] == "metre" and metadata["up"] == [0, -1, 0]
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith(".")) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to=obj"], "--to obj: allowed are spz, sog"),
        ([], "--to (nothing)"),
        (["--to=ply", "--up=w"], "up"),
        (["--to=ply", "--set=harmonics"], "write PATH=VALUE"),
        (["--to=mesh", "--set=mesh.triangles=1"], "mesh.triangles"),
        (["--to=ply,ply"], "each format once"),
    ],
)
def test_wrong_options_are_refused_with_what_is_allowed(
    arguments: list[str], message: str, ply: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(ply), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_folder_without_results_and_a_broken_ply_are_refused(
    ply: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path), "--to=ply"]) == 2
    assert "has no .scenewright/job.json" in capsys.readouterr().err
    ply.write_bytes(ply.read_bytes()[:-10])
    assert main([str(ply), "--to=ply"]) == 1
    assert "ends after 799 of 800 splats" in capsys.readouterr().err


def test_a_file_that_does_not_hold_the_scene_when_read_back_is_no_result(
    ply: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, params = read_source(ply, ()), ExportParams(to=["splat"])
    own = formats._FORMATS["splat"]

    def flipped(path: Path) -> GaussianScene:
        return rotated(own.read(path), np.diag([1.0, -1.0, -1.0]))

    def fewer(path: Path) -> GaussianScene:
        return own.read(path).select(slice(0, -1))

    for reader, message in ((flipped, "looks unlike the PLY"), (fewer, "holds 799 of 800 splats")):
        monkeypatch.setitem(formats._FORMATS, "splat", formats._Format(own.write, reader))
        with pytest.raises(FormatError, match=message):
            write_formats(source, params, tmp_path, CpuRenderer(), lambda share, text: None)


@pytest.mark.parametrize("up", [(0, 0, 1), (0, 0.6, -0.8), (0, 1, 0), (1, 0, 0)])
def test_files_with_a_declared_up_axis_are_level(up: tuple[float, ...], ply: Path, tmp_path: Path) -> None:
    direction = np.array(up, np.float64)
    scene = read_ply(ply)
    aside = np.cross(direction, [0.3, 0.5, 0.7])
    poses = [look_at(3 * side * aside, np.zeros(3), direction) for side in (1, -1)]
    cameras = [Camera.from_field_of_view(64, 48, 60.0, pose) for pose in poses]
    source = read_source(ply, cameras)
    assert np.allclose(source.up, direction, atol=0.11)
    written = write_formats(source, ExportParams(to=["usdc"]), tmp_path, CpuRenderer(), lambda share, text: None)
    turn = np.array(written.files["usdc"]["file_from_scene"])
    assert np.allclose(turn @ source.up, [0, 1, 0], atol=1e-6)
    assert len(scene) == 800


def test_a_rotation_between_any_two_directions_is_proper() -> None:
    random = np.random.default_rng(0)
    for number in range(50):
        first, second = random.normal(size=(2, 3))
        first, second = first / np.linalg.norm(first), second / np.linalg.norm(second)
        second = (first, -first, second)[min(number, 2)]
        turn = rotation_between(first, second)
        assert np.allclose(turn @ first, second, atol=1e-7) and np.isclose(np.linalg.det(turn), 1)


def test_a_scene_without_cameras_is_circled_and_all_of_it_is_seen(ply: Path) -> None:
    source: Source = read_source(ply, ())
    assert source.flown == "orbit" and "assumed" in source.up_from
    means = source.splats.scene().means.double().numpy()
    for camera in orbit(source.splats, source.up, count=5):
        local = means @ camera.camera_from_world[:3, :3].T + camera.camera_from_world[:3, 3]
        assert (local[:, 2] > 0).mean() > 0.99


@pytest.mark.parametrize(
    ("size", "text"),
    [(512, "512 B"), (1300, "1.3 kB"), (51_300, "51 kB"), (1_730_000, "1.7 MB"), (5 * 10**9, "5.0 GB")],
)
def test_sizes_read_well(size: int, text: str) -> None:
    assert size_text(size) == text
