"""The whole loop by the command: pairs, tuning and a scene in three files that refer to each other, in any order."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml
from agreement import assert_numbers_agree
from capture_folders import write_rooms
from toy_packages import COMMAND

pytestmark = pytest.mark.process

TRAINING = {"steps": 40, "segment": 20, "startPoints": 800, "maximum": 1500}


def manifest(kind: str, name: str, output: Path, **spec: object) -> str:
    content = {"apiVersion": "scenewright.io/v1alpha1", "kind": kind, "metadata": {"name": name}}
    return yaml.safe_dump({**content, "spec": {"output": {"uri": str(output)}, **spec}})


def scenewright(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("loop")
    write_rooms(root / "rooms", 3, 8, (48, 36))
    write_rooms(root / "unseen", 1, 8, (48, 36), first=10)
    pairs = {
        "training": TRAINING,
        "maxResolution": 48,
        "strategies": {"sparse": [2], "underfit": [50]},
        "gates": {"psnr": [8, 40], "registration": 20},
        "split": {"testFraction": 0, "test": ["room02"]},
    }
    tuning = {"steps": 12, "batch": 2, "crop": 32, "checkpointEvery": 6, "stateEvery": 4}
    scene = {
        "training": TRAINING,
        "maxResolution": 48,
        "heldOutEvery": 4,
        "gateEvery": 3,
        "render": {"frames": 8},
        "difix": {"tuningRun": {"name": "fixer"}, "rounds": 1, "roundSteps": 20, "views": 4, "finalPass": True},
    }
    files = {
        "pairs": manifest("DatasetJob", "pairs", root / "out", input={"uri": str(root / "rooms")}, difixPairs=pairs),
        "tuning": manifest(
            "TuningRun", "fixer", root / "out/tuning_runs/fixer", dataset={"datasetJob": "pairs"}, fixer=tuning
        ),
        "scene": manifest("SceneJob", "scene", root / "scene", input={"uri": str(root / "unseen")}, reconstruct=scene),
    }
    for name, text in files.items():
        (root / f"{name}.yaml").write_text(text)
    return root


@pytest.fixture(scope="module")
def ran(folder: Path) -> Path:
    result = scenewright("run", *(folder / f"{name}.yaml" for name in ("scene", "tuning", "pairs")))
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
    for output in ("out", "out/tuning_runs/fixer", "scene"):
        assert_numbers_agree(folder / output)
    return folder


@pytest.mark.slow
def test_the_data_set_is_the_seeds_tree(ran: Path) -> None:
    out = ran / "out"
    rows = [json.loads(line) for line in (out / "manifests/all_samples.jsonl").read_text().splitlines()]
    assert len(rows) >= 20
    for row in rows:
        sample = out / "samples" / row["sample_id"]
        names = {path.name for path in sample.iterdir()}
        assert names == {"image.png", "target_image.jpg", "ref_image.jpg", "meta.json"}
        assert json.loads((sample / "meta.json").read_text()) | row == json.loads((sample / "meta.json").read_text())
    data = json.loads((out / "difix/data.json").read_text())
    assert len(data["train"]) + len(data["test"]) == len(rows)
    for entry in (*data["train"].values(), *data["test"].values()):
        assert all((out / entry[key]).is_file() for key in ("image", "target_image", "ref_image"))


@pytest.mark.slow
def test_the_runs_checkpoints_lie_inside_the_data_set_and_the_scene_used_the_best(ran: Path) -> None:
    run = ran / "out/tuning_runs/fixer"
    names = {path.name for path in (run / "checkpoints").iterdir()}
    assert names == {f"model_{step}.{ending}" for step in (6, 12) for ending in ("pkl", "safetensors")}
    numbers = json.loads((run / "eval/metrics.json").read_text())
    assert set(numbers["groups"]) == {"room02"}
    assert set(numbers["all"]["gain_over"]) == {"identity", "gaussian", "nlm", "fill_and_paste"}
    published = json.loads((run / ".scenewright/published.json").read_text())
    assert f"checkpoints/{numbers['checkpoint']}" in published["files"]
    (line,) = (ran / "scene/manifest.jsonl").read_text().splitlines()
    (use,) = json.loads(line)["backends"]["difix"]
    assert use["revision"] == f"step {numbers['checkpoint'].split('_')[1].split('.')[0]}"
    told = json.loads((ran / "scene/room10/difix_rounds.json").read_text())["fixer"]
    assert published["chosen"]["best"] == f"checkpoints/{numbers['checkpoint']}@{told['checkpoint']}"
    assert told["revision"] == use["revision"]
    assert (ran / "scene/room10/gf.ply").is_file()
    assert (ran / "scene/room10/flight_fixed.mp4").stat().st_size > 500
    assert json.loads((ran / "scene/room10/metrics.json").read_text())["final_pass"]["psnr"] > 8
    page = next((ran / "scene").rglob("report.html")).read_text()
    assert "gate views" in page
    assert f"checkpoint {told['checkpoint']}" in page


@pytest.mark.slow
def test_an_unchanged_loop_makes_nothing_again_and_republishing_leaves_the_run_alone(ran: Path) -> None:
    checkpoint = ran / "out/tuning_runs/fixer/checkpoints/model_12.safetensors"
    files = [*(ran / "out/samples").rglob("*.png"), checkpoint, ran / "scene/room10/gf.ply"]
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}
    result = scenewright("run", *(ran / f"{name}.yaml" for name in ("pairs", "tuning", "scene")))
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files} == before


@pytest.mark.slow
def test_a_smaller_data_set_deletes_its_own_files_and_none_of_the_runs(ran: Path) -> None:
    out = ran / "out"
    run = {path: path.read_bytes() for path in sorted((out / "tuning_runs").rglob("*")) if path.is_file()}
    assert any("underfit" in path.name for path in (out / "samples").iterdir())
    result = scenewright("run", ran / "pairs.yaml", "--set", "strategies.underfit=[]")
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
    assert_numbers_agree(ran / "out", terminal=result.stdout)
    left = [path.name for path in (out / "samples").iterdir() if any(path.iterdir())]
    assert left
    assert not any("underfit" in name for name in left)
    assert {path: path.read_bytes() for path in sorted((out / "tuning_runs").rglob("*")) if path.is_file()} == run
