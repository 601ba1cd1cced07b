"""Stages that train save states, leave when they are asked to, and end with the bytes of an uninterrupted run."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from capture_folders import room_views
from synthetic.world import box_room
from test_learning import data

from scenewright_stages.backends.fix.interface import FlawedView
from scenewright_stages.backends.runtime.capability import BackendRecord
from scenewright_stages.captures import ShotFacts
from scenewright_stages.contract.errors import Abandoned
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import ModelSettings, Stage, StageContext, StageInputs, StageResult
from scenewright_stages.difix.fixer_params import FixerParams
from scenewright_stages.difix.params import PairsParams
from scenewright_stages.difix.pipeline import fixer_stages, pairs_stages
from scenewright_stages.difix.spoil import SpoilStage
from scenewright_stages.difix.tune import TuneStage
from scenewright_stages.reconstruct import fix
from scenewright_stages.reconstruct.params import ReconstructParams
from scenewright_stages.reconstruct.pipeline import stages as reconstruct_stages
from scenewright_stages.reconstruct.train import TrainStage
from scenewright_stages.scenes.captures import shots_facts, start_of
from scenewright_stages.vision.places.captures.pictures import Photograph, PosedPhotographs

__all__ = ["data"]
TRAINING = {"steps": 45, "segment": 15, "startPoints": 500, "maximum": 900}


class KeptState:
    """Durable state in a folder, as the worker keeps it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.step = folder, 0
        self.files: Mapping[str, Path] = {}

    def save(self, step: int, files: Mapping[str, Path]) -> None:
        assert step > self.step
        target = self.folder / str(step)
        target.mkdir(parents=True)
        self.files = {name: Path(shutil.copy(path, target / name)) for name, path in files.items()}
        self.step = step


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    views = room_views(box_room(0), 8, (36, 24))
    shots = tuple(
        Photograph(f"{number:03d}", 0, view.camera, np.round(view.srgb * 255).astype(np.uint8))
        for number, view in enumerate(views)
    )
    path = tmp_path_factory.mktemp("capture") / "photographs.npz"
    PosedPhotographs(shots, np.zeros((0, 3)), np.zeros((0, 3), np.uint8)).save(path)
    return path


def run(
    make: Callable[[Callable[[], bool]], Stage[Any]],
    sample: Sample,
    params: Any,
    folder: Path,
    files: Mapping[tuple[str, str], Path],
    named: Mapping[str, Path],
    patience: int,
) -> tuple[StageResult, int]:
    """The result, and how many processes it took when each is asked to end after so many questions."""
    state = KeptState(folder / "state")
    for attempt in range(1, 50):
        asked = iter(range(10_000))
        stage = make(lambda asked=asked: next(asked) + 1 >= patience)
        workspace = folder / f"workspace-{attempt}"
        workspace.mkdir(parents=True)
        try:
            return stage.process(sample, StageInputs(files, params, 7, workspace, named=named, state=state)), attempt
        except Abandoned:
            continue
    raise AssertionError("it never ends")


def contents(result: StageResult) -> dict[str, bytes]:
    found = {}
    for name, path in result.outputs.items():
        assert isinstance(path, Path)
        for each in sorted(path.rglob("*")) if path.is_dir() else [path]:
            found[f"{name}/{each.name}"] = each.read_bytes()
    return found


def test_tuning_continues_where_it_was(data: Path, tmp_path: Path) -> None:
    params = FixerParams(steps=9, batch=2, crop=16, checkpoint_every=3, state_every=2)
    spec = fixer_stages(params)[0]

    def tune(patience: int, name: str) -> tuple[StageResult, int]:
        def make(ends: Callable[[], bool]) -> Stage[Any]:
            return TuneStage(StageContext(spec, params, ModelSettings(device="cpu"), should_stop=ends))

        return run(make, Sample("tuning"), params, tmp_path / name, {}, {"dataset": data}, patience)

    whole, once = tune(1000, "whole")
    assert once == 1
    for patience in (1, 4):
        interrupted, attempts = tune(patience, f"ended-{patience}")
        assert attempts > 2
        assert contents(interrupted) == contents(whole)
        assert interrupted.metrics == whole.metrics


class Killed(BaseException):
    """The process is gone: nothing is saved, nothing is cleaned up."""


@pytest.mark.parametrize("seed", range(3))
def test_a_tuning_that_is_killed_loses_an_interval_at_most(data: Path, tmp_path: Path, seed: int) -> None:
    params = FixerParams(steps=16, batch=2, crop=16, checkpoint_every=5, state_every=3)
    spec = fixer_stages(params)[0]
    random = np.random.default_rng(seed)
    steps: list[int] = []

    def tune(name: str, deaths: int) -> StageResult:
        state = KeptState(tmp_path / name / "state")
        while True:
            left = int(random.integers(1, 7)) if deaths else 1000
            begun = state.step

            def dies(share: float, message: str, begun: int = begun, left: int = left) -> None:
                steps.append(round(share * params.steps))
                if steps[-1] >= begun + left:
                    raise Killed

            context = StageContext(spec, params, ModelSettings(device="cpu"), progress=dies)
            workspace = tmp_path / name / f"workspace-{deaths}"
            workspace.mkdir(parents=True)
            inputs = StageInputs({}, params, 7, workspace, named={"dataset": data}, state=state)
            try:
                return TuneStage(context).process(Sample("tuning"), inputs)
            except Killed:
                assert steps[-1] - state.step < params.state_every
                deaths -= 1

    whole = tune("whole", 0)
    assert contents(tune("killed", 5)) == contents(whole)


@pytest.mark.parametrize(("strategy", "level"), [("cycle", 40), ("sparse", 2)])
def test_a_spoilt_training_continues_where_it_was(photographs: Path, tmp_path: Path, strategy: str, level: int) -> None:
    params = PairsParams.model_validate({"training": TRAINING})
    spec = next(stage for stage in pairs_stages(params) if stage.name == "spoil")
    sample = Sample("room", attributes={"strategy": strategy, "level": level})

    def spoil(patience: int, name: str) -> tuple[StageResult, int]:
        def make(ends: Callable[[], bool]) -> Stage[Any]:
            return SpoilStage(StageContext(spec, params, ModelSettings(device="cpu"), should_stop=ends))

        files = {("capture", "photographs"): photographs}
        return run(make, sample, params, tmp_path / name, files, {}, patience)

    whole, _ = spoil(1000, "whole")
    interrupted, attempts = spoil(1, "ended")
    assert attempts >= 3
    assert contents(interrupted) == contents(whole)
    assert any("start points are random" in warning for warning in whole.warnings)


@pytest.mark.parametrize("preset", ["", "preview"])
def test_a_reconstruction_continues_where_it_was(photographs: Path, tmp_path: Path, preset: str) -> None:
    training = {**TRAINING, "preset": preset}
    params = ReconstructParams.model_validate({"training": training, "heldOutEvery": 4, "gateEvery": 3})
    spec = next(stage for stage in reconstruct_stages(params) if stage.name == "train")

    def train(patience: int, name: str) -> StageResult:
        def make(ends: Callable[[], bool]) -> Stage[Any]:
            return TrainStage(StageContext(spec, params, ModelSettings(device="cpu"), should_stop=ends))

        files = {("capture", "photographs"): photographs}
        return run(make, Sample("room"), params, tmp_path / name, files, {}, patience)[0]

    whole = train(1000, "whole")
    assert contents(train(1, "ended")) == contents(whole)
    assert bool(whole.metrics.get("validation")) == bool(preset)


class Darker:
    """Gives renders back a little darker."""

    record = BackendRecord("fix", "darker", "classic", "cpu")

    def fix(self, view: FlawedView, seed: int = 0) -> np.ndarray:
        return view.srgb * np.float32(0.97)


def test_rounds_continue_after_the_last_one_that_was_finished(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = {"rounds": 3, "roundSteps": 30, "views": 3, "checkpoint": "x.safetensors", "gain": 0.0}
    params = ReconstructParams.model_validate({"training": TRAINING, "heldOutEvery": 4, "gateEvery": 3, "difix": block})
    spec = next(stage for stage in reconstruct_stages(params) if stage.name == "difix")
    monkeypatch.setattr(fix, "chosen_fixer", lambda inputs, models: Darker())
    scene = tmp_path / "scene.npz"
    start_of(PosedPhotographs.load(photographs), range(8), params.training, 0).scene().save_npz(scene)
    cameras: list[int] = []
    drawn = fix.round_cameras

    def noted(*arguments: Any) -> Any:
        cameras.append(arguments[-1])
        return drawn(*arguments)

    monkeypatch.setattr(fix, "round_cameras", noted)

    def rounds(patience: int, name: str) -> tuple[StageResult, int]:
        def make(ends: Callable[[], bool]) -> Stage[Any]:
            return fix.FixStage(StageContext(spec, params, ModelSettings(device="cpu"), should_stop=ends))

        files = {("capture", "photographs"): photographs, ("train", "scene"): scene}
        return run(make, Sample("room"), params, tmp_path / name, files, {}, patience)

    whole, _ = rounds(1000, "whole")
    assert cameras == [0, 1, 2]
    cameras.clear()
    # Two trainings of two segments each in a round: asked to end in the middle of the round after.
    interrupted, attempts = rounds(6, "ended")
    assert attempts == 3
    assert cameras == [0, 1, 1, 2, 2]
    assert contents(interrupted) == contents(whole)
    assert interrupted.metrics == whole.metrics


def test_stages_and_index_know_the_same_places(photographs: Path) -> None:
    facts = shots_facts(PosedPhotographs.load(photographs))
    assert all(isinstance(each, ShotFacts) for each in facts)
    assert [each.name for each in facts] == [f"{number:03d}" for number in range(8)]
