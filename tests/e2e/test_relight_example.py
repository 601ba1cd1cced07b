"""The example that users try first: a person on a photograph, found without any help, in four lights."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from relight_jobs import json_lines
from scene_jobs import assert_consistent, scenewright

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
OUTLINE = ROOT / "tests" / "stages" / "relight_vision" / "astronaut_person.png"
LIGHTS = 4


@pytest.fixture(scope="module")
def astronaut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output of the example; tests leave it as it is."""
    output = tmp_path_factory.mktemp("astronaut") / "out"
    ended = scenewright("run", EXAMPLES / "datasetjob-relight.yaml", "--output", output)
    assert ended.code == 0, ended.stderr
    return output


def image(path: Path) -> np.ndarray:
    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert found is not None, path
    return found


def test_the_mask_follows_the_person_with_the_helmet_that_she_holds(astronaut: Path) -> None:
    mask, truth = image(astronaut / "stage_1" / "astronaut_mask.png") > 0, image(OUTLINE)
    cv2.ellipse(truth, (388, 434), (112, 92), 0, 0, 360, 255, -1)
    truth = truth > 0
    overlap = (mask & truth).sum() / (mask | truth).sum()
    print(f"overlap {overlap:.3f}")
    assert overlap >= 0.95
    everything = np.ones_like(truth)
    assert (everything & truth).sum() / (everything | truth).sum() < 0.9


def test_the_light_changes_visibly_and_the_background_not_by_a_bit(astronaut: Path) -> None:
    before, alpha = (
        image(astronaut / "outputs" / "astronaut_input.png"),
        image(astronaut / "stage_1" / "astronaut_alpha.png"),
    )
    others = []
    for number in range(LIGHTS):
        after = image(astronaut / "outputs" / f"astronaut_v{number}_output.png")
        assert np.array_equal(after[alpha == 0], before[alpha == 0])
        assert np.abs(after[alpha == 255].astype(int) - before[alpha == 255]).mean() > 6
        others.append(after[alpha == 255].astype(int))
    differences = [np.abs(one - other).mean() for at, one in enumerate(others) for other in others[:at]]
    assert min(differences) > 4, "no two lights look alike"


def test_captions_and_loaders_files_are_there(astronaut: Path) -> None:
    assert_consistent(astronaut)
    lines = json_lines(astronaut / "metadata.jsonl")
    assert [line["id"] for line in lines] == [f"astronaut_v{number}" for number in range(LIGHTS)]
    assert all("light from the" in line["text"] for line in lines)


def test_the_synthetic_portraits_are_made_in_several_shards(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES / "inputs" / "portraits", tmp_path / "inputs" / "portraits")
    shutil.copy(EXAMPLES / "datasetjob-portraits.yaml", tmp_path)
    ended = scenewright("run", tmp_path / "datasetjob-portraits.yaml")
    assert ended.code == 0, ended.stderr
    output = tmp_path / "results" / "portraits"
    assert len(json_lines(output / "manifest.jsonl")) == 12
    assert len(list((output / ".scenewright" / "logs").rglob("albedo-*.log"))) == 2
