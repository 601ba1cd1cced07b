"""References of another moment: of fixed cameras, the moment before the target's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from capture_folders import write_rig
from input_folders import FolderView
from pair_data import NoState
from synthetic import box_room, cameras_inside

from scenewright_stages.captures import BESIDE, list_captures
from scenewright_stages.contract.errors import SampleRejected
from scenewright_stages.contract.pipeline import INPUT
from scenewright_stages.contract.samples import Family, Sample, SourceFile
from scenewright_stages.contract.stage import ModelSettings, Stage, StageContext, StageInputs
from scenewright_stages.difix.pair import PairStage
from scenewright_stages.difix.params import PairsParams
from scenewright_stages.difix.pipeline import pairs_stages
from scenewright_stages.difix.spoil import SpoilStage
from scenewright_stages.difix.strategies import pairs, trainings
from scenewright_stages.scenes.captures import CaptureStage

SIZE = (48, 36)
PARAMS = PairsParams.model_validate({
    "training": {"steps": 40, "segment": 20, "startPoints": 500, "maximum": 800},
    "strategies": {"sparse": [], "underfit": [100]},
    "reference": {"time": "other"},
    "gates": {"psnr": [5, 60], "registration": 20, "agreement": -1, "coverage": 0},
})  # fmt: skip


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cameras = cameras_inside(box_room(0), 4, *SIZE)
    return write_rig(tmp_path_factory.mktemp("rig") / "pair00", cameras, {"0001": box_room(0), "0002": box_room(1)})


def samples_of(folder: Path) -> list[Sample]:
    found = []
    for each in list_captures(FolderView(folder)) or []:
        files = {role: SourceFile(str(folder / key), 1, "") for role, key in each.files.items()}
        found.append(Sample(each.id, files, attributes=each.attributes))
    return found


class Chain:
    """Runs the stages of a moment one by one, each in a folder of its own."""

    def __init__(self, root: Path, sample: Sample) -> None:
        self.root, self.specs = root, {stage.name: stage for stage in pairs_stages(PARAMS)}
        self.files: dict[tuple[str, str], Any] = {(INPUT, role): Path(file.uri) for role, file in sample.files.items()}

    def run(self, kind: type[Stage[Any]], name: str, sample: Sample) -> dict[str, Any]:
        folder = self.root / name
        folder.mkdir()
        stage = kind(StageContext(self.specs[name], PARAMS, ModelSettings(device="cpu")))
        outputs = dict(stage.process(sample, StageInputs(self.files, PARAMS, 1, folder, state=NoState())).outputs)
        self.files |= {(name, output): path for output, path in outputs.items()}
        return outputs


def test_a_pair_shows_the_reference_of_the_other_moment(rig: Path, tmp_path: Path) -> None:
    _, second = samples_of(rig)
    chain = Chain(tmp_path, second)
    chain.run(CaptureStage, "capture", second)
    chain.run(CaptureStage, BESIDE, second)
    family = Family.of(second, [lambda each: trainings(each, PARAMS), lambda each: pairs(each, PARAMS)])
    chain.run(SpoilStage, "spoil", family.levels[1][0])
    outputs = chain.run(PairStage, "pair", family.leaves[2])
    meta = json.loads(outputs["meta"].read_text())
    assert (meta["target_fname"], meta["reference_fname"]) == ("0002", "0001")
    assert (meta["target_cam_id"], meta["reference_cam_id"]) == (12, 12)
    assert meta["sample_id"] == "pair00__tcam12__rccam12__tf0002__rf0001__underfit100"
    for name, moment in (("reference", "0001"), ("target", "0002")):
        taken = cv2.imread(str(rig / "images" / "12" / f"{moment}.png")).astype(np.float32)
        assert np.abs(cv2.imread(str(outputs[name])).astype(np.float32) - taken).mean() < 2


def test_a_capture_of_one_moment_gives_no_pair_and_says_why(rig: Path, tmp_path: Path) -> None:
    sample = samples_of(rig)[0]
    alone = Sample(sample.id, sample.files, {**sample.attributes, "beside": ""})
    with pytest.raises(SampleRejected, match="no moment beside it") as caught:
        Chain(tmp_path, alone).run(CaptureStage, BESIDE, alone)
    assert caught.value.reason == "NoReference"


def test_only_references_of_another_moment_ask_for_its_photographs() -> None:
    plain = PARAMS.model_copy(update={"reference": PARAMS.reference.model_copy(update={"time": "same"})})
    assert [stage.name for stage in pairs_stages(PARAMS)] == ["capture", BESIDE, "spoil", "pair"]
    assert [stage.name for stage in pairs_stages(plain)] == ["capture", "spoil", "pair"]
