"""Poses of bare photographs: found where photographs overlap, the same every time, and never guessed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest
from input_folders import FolderView
from numpy.typing import NDArray

from scenewright_stages.contract.errors import SampleError
from scenewright_stages.contract.pipeline import INPUT
from scenewright_stages.contract.samples import Sample, SourceFile
from scenewright_stages.contract.stage import ModelSettings, StageContext, StageInputs
from scenewright_stages.reconstruct.params import ReconstructParams
from scenewright_stages.reconstruct.pipeline import stages
from scenewright_stages.scenes.captures import CaptureStage
from scenewright_stages.scenes.poses import PosesStage
from scenewright_stages.vision.places.captures.capture import CaptureError
from scenewright_stages.vision.places.captures.colmap import read_colmap
from scenewright_stages.vision.places.captures.estimation import EstimationSettings, Registration, estimate_poses
from scenewright_stages.vision.places.captures.finding import list_captures, list_photographs

INPUTS = Path(__file__).parents[3] / "examples" / "inputs"
BEACH = INPUTS / "brighton-beach"
SMALL = EstimationSettings(features=2000, longest_side=640)
NAMES = [f"DJI_00{number}.JPG" for number in range(24, 30)]


def estimated(pictures: Mapping[str, Path], folder: Path) -> Registration:
    return estimate_poses(pictures, folder, SMALL, lambda share, message: None)


@pytest.fixture(scope="module")
def pictures() -> dict[str, Path]:
    """Six photographs that overlap, and one of something else."""
    return {**{name: BEACH / "images" / name for name in NAMES}, "temple.jpg": INPUTS / "china.jpg"}


@pytest.fixture(scope="module")
def model(pictures: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Registration]:
    folder = tmp_path_factory.mktemp("poses")
    return folder, estimated(pictures, folder)


def aligned_error(found: NDArray[np.float64], true: NDArray[np.float64]) -> float:
    """Largest distance after the best similarity (Umeyama 1991), relative to the spread of the true centres."""
    a, b = found - found.mean(axis=0), true - true.mean(axis=0)
    left, stretch, right = np.linalg.svd(b.T @ a)
    turn = np.diag([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    scale = (stretch * np.diag(turn)).sum() / (a**2).sum()
    moved = scale * a @ (left @ turn @ right).T
    return float(np.linalg.norm(moved - b, axis=1).max() / np.linalg.norm(b, axis=1).mean())


@pytest.mark.slow
def test_photographs_that_overlap_are_placed_where_they_were_taken(model: tuple[Path, Registration]) -> None:
    folder, found = model
    assert found.registered == tuple(NAMES)
    keys = {f"images/{path.name}" for path in (BEACH / "images").iterdir()}
    capture = read_colmap("", False, lambda name: (folder / name).read_bytes(), keys)
    binary = BEACH / "sparse" / "0"
    given = read_colmap("", True, lambda name: (binary / name).read_bytes(), keys)
    true = {shot.path: shot.pinhole().position for shot in given.shots}
    assert [shot.path for shot in capture.shots] == [f"images/{name}" for name in NAMES]
    positions = np.array([shot.pinhole().position for shot in capture.shots])
    assert aligned_error(positions, np.array([true[shot.path] for shot in capture.shots])) < 0.06
    assert len({shot.lens for shot in capture.shots}) == 1
    assert len(capture.points) == found.points > 200
    assert found.reprojection_error < 1


def test_a_photograph_of_something_else_is_named_and_left_out(model: tuple[Path, Registration]) -> None:
    _, found = model
    assert found.unregistered == ("temple.jpg",)
    assert found.notes() == ["1 of 7 photographs have no pose and are left out: temple.jpg"]


@pytest.mark.slow
def test_equal_photographs_give_equal_bytes(
    model: tuple[Path, Registration], pictures: dict[str, Path], tmp_path: Path
) -> None:
    estimated(dict(reversed(pictures.items())), tmp_path / "again")
    for name in ("cameras.txt", "images.txt", "points3D.txt"):
        assert (tmp_path / "again" / name).read_bytes() == (model[0] / name).read_bytes(), name


@pytest.mark.slow
def test_unrelated_photographs_are_refused(tmp_path: Path) -> None:
    names = ("china.jpg", "coffee.png", "chelsea.png", "rocket.jpg", "astronaut.png", "motorcycle.png")
    with pytest.raises(CaptureError, match="photographs fit together") as caught:
        estimated({name: INPUTS / name for name in names}, tmp_path / "out")
    assert caught.value.reason == "TooFewMatches"


@pytest.mark.slow
def test_photographs_from_one_place_are_refused(tmp_path: Path) -> None:
    """A camera that only turns sees how the pictures fit, but nothing of depth."""
    whole = cv2.imread(str(INPUTS / "china.jpg"))
    lens = np.array([[600.0, 0, 200], [0, 600, 160], [0, 0, 1]])
    original = np.array([[600.0, 0, whole.shape[1] / 2], [0, 600, whole.shape[0] / 2], [0, 0, 1]])
    pictures = {}
    for number in range(6):
        turn, _ = cv2.Rodrigues(np.array([0.0, np.radians(3 * (number - 2.5)), 0.0]))
        pictures[f"{number}.png"] = tmp_path / f"{number}.png"
        turned = cv2.warpPerspective(whole, lens @ turn @ np.linalg.inv(original), (400, 320))
        cv2.imwrite(str(pictures[f"{number}.png"]), turned)
    with pytest.raises(CaptureError, match=r"turned on the spot.*worldexplorer") as caught:
        estimated(pictures, tmp_path / "out")
    assert caught.value.reason == "PureRotation"


@pytest.mark.parametrize("reason", ["TooFewViews", "Unreadable"])
def test_what_is_no_set_of_photographs_is_refused(tmp_path: Path, reason: str) -> None:
    pictures = {name: BEACH / "images" / name for name in NAMES[:3]}
    if reason == "Unreadable":
        (tmp_path / "x.jpg").write_bytes(b"nothing")
        pictures["x.jpg"] = tmp_path / "x.jpg"
    with pytest.raises(CaptureError) as caught:
        estimated(pictures, tmp_path / "out")
    assert caught.value.reason == reason


def test_many_photographs_without_a_pose_are_counted() -> None:
    found = Registration(("a",), tuple(f"{number:02d}.jpg" for number in range(12)), 500, 0.4, apart=5)
    (note,) = found.notes()
    assert note.startswith("12 of 13 photographs have no pose")
    assert note.endswith("09.jpg, ...; 5 of them fit each other, but not the rest")


# Listing.


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def test_folders_of_photographs_are_samples(tmp_path: Path) -> None:
    four = [f"{number}.jpg" for number in range(4)]
    touch(tmp_path / "in", *(f"garden/images/{name}" for name in four), "garden/masks/0.png", "garden/notes.txt")
    touch(tmp_path / "in", *(f"hall/{name}" for name in four), "few/0.png")
    found = {each.id: each for each in list_photographs(FolderView(tmp_path / "in")) or []}
    assert set(found) == {"garden", "hall", "few"}
    masks = {"~masks/0.png": "garden/masks/0.png"}
    assert found["garden"].files == {**{f"images/{name}": f"garden/images/{name}" for name in four}, **masks}
    assert found["hall"].files == {f"images/{name}": f"hall/{name}" for name in four}
    assert found["hall"].attributes["mark"] == ""
    assert found["few"].rejected == ("TooFewViews", "1 photographs in few/ (few/0.png), at least 4 are needed")


@pytest.mark.parametrize("below", ["images", ""])
def test_one_folder_of_photographs_has_the_name_of_what_it_is_about(tmp_path: Path, below: str) -> None:
    folder = tmp_path / "garden" / below
    touch(folder, *(f"{number}.JPG" for number in range(4)))
    (found,) = list_photographs(FolderView(folder)) or []
    assert found.id == "garden"
    assert list_captures(FolderView(folder)) is None


def test_captures_with_poses_are_listed_as_they_were() -> None:
    view = FolderView(BEACH)
    assert list_photographs(view) == list_captures(view)
    (alone,) = list_photographs(FolderView(INPUTS / "brighton-beach" / "sparse")) or []
    assert alone.rejected is not None
    assert "none of its 18 photographs is there" in alone.rejected[1]


# Stages.


def sample(paths: Mapping[str, Path], mark: str) -> Sample:
    files = {role: SourceFile(str(path), 1, "") for role, path in paths.items()}
    return Sample("beach", files, attributes={"mark": mark, "time": ""})


@pytest.mark.slow
def test_the_stages_read_estimated_poses_whatever_is_beside_the_photographs(tmp_path: Path) -> None:
    params = ReconstructParams.model_validate({"poses": {"source": "estimate", "features": 2000, "maxResolution": 640}})
    posing, reading, *_ = stages(params)
    assert [posing.name, reading.name] == ["poses", "capture"]
    paths = {f"images/{name}": BEACH / "images" / name for name in NAMES}
    given = sample({**paths, "sparse/0/images.bin": BEACH / "sparse/0/images.bin"}, "sparse/0/images.bin")
    files = {(INPUT, role): Path(file.uri) for role, file in given.files.items()}
    settings = ModelSettings(device="cpu")
    (tmp_path / "poses").mkdir()
    made = PosesStage(StageContext(posing, params, settings)).process(
        given, StageInputs(files, params, 3, tmp_path / "poses")
    )
    assert made.metrics["registered"] == 6
    assert not made.warnings
    model = {("poses", name): Path(str(path)) for name, path in made.outputs.items()}
    result = CaptureStage(StageContext(reading, params, settings)).process(
        given, StageInputs({**files, **model}, params, 3, tmp_path)
    )
    assert {name: result.metrics[name] for name in ("photographs", "points")} == {
        "photographs": 6,
        "points": made.metrics["points"],
    }
    assert 1.1 < result.metrics["exposure_span"] < 1.4


def test_given_poses_that_are_not_there_are_asked_for(tmp_path: Path) -> None:
    params = ReconstructParams()
    bare = sample({f"images/{name}": BEACH / "images" / name for name in NAMES}, "")
    files = {(INPUT, role): Path(file.uri) for role, file in bare.files.items()}
    stage = CaptureStage(StageContext(stages(params)[0], params, ModelSettings(device="cpu")))
    with pytest.raises(SampleError, match=r"set poses\.source to estimate") as caught:
        stage.process(bare, StageInputs(files, params, 3, tmp_path))
    assert caught.value.reason == "NoPoses"
