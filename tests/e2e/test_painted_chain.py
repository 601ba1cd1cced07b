"""Data sets whose pictures models paint, by the command that users type: networks with random weights, real workers.

``painters/sitecustomize.py`` says what is changed in the worker processes so that tiny networks are quick and an object
stands out from what they paint.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from scene_jobs import Ended, assert_consistent, scenewright
from test_reference_object import new_work, ran, record_lines, tree, write_job
from tiny_flux import save_tiny_flux
from tiny_qwen_image import save_tiny_lora, save_tiny_qwen_image
from tiny_sam import save_tiny_sam
from tiny_zero123 import save_tiny_zero123

from scenewright_stages.vision.imaging.regions import overlap

pytestmark = pytest.mark.proof

PAINTERS = Path(__file__).parents[1] / "support" / "painters"
FAST: dict[str, Any] = {"precision": "fp32", "steps": 2, "guidance": 1.0}
ANGLES = "fal/Qwen-Image-Edit-2511-Multiple-Angles-LoRA"


@pytest.fixture
def vase(tmp_path: Path) -> Path:
    """A red vase before a bright wall, with its mask."""
    picture, mask = np.full((240, 240, 3), 235, np.uint8), np.zeros((240, 240), np.uint8)
    for canvas, red, dark in ((picture, (40, 40, 200), (30, 20, 90)), (mask, 255, 255)):
        cv2.ellipse(canvas, (120, 150), (48, 56), 0, 0, 360, red, -1)
        cv2.rectangle(canvas, (100, 50), (140, 110), red, -1)
        cv2.rectangle(canvas, (104, 130), (136, 150), dark, -1)
    cv2.imwrite(str(tmp_path / "vase.png"), picture)
    cv2.imwrite(str(tmp_path / "vase.mask.png"), mask)
    return tmp_path / "vase.png"


def paint(folder: Path, photo: Path, block: dict[str, Any], accepted: Collection[str] = ()) -> Ended:
    """Runs a job with the painters."""
    job = json.loads(write_job(folder, photo, block).read_text())
    job["spec"]["models"] = {"acceptLicenses": sorted(accepted)}
    (folder / "job.yaml").write_text(json.dumps(job))
    path = os.pathsep.join([str(PAINTERS), *filter(None, [os.environ.get("PYTHONPATH")])])
    return scenewright(
        "run",
        folder / "job.yaml",
        environment={"SCENEWRIGHT_MODEL_CACHE": str(folder / "models"), "PYTHONPATH": path},
    )


def backends_of(output: Path, stage: str) -> set[str]:
    return {str(use["backend"]) for record in record_lines(output, stage) for use in record.backends}


def red_in(path: Path) -> Any:
    """(H, W) bool where a picture is as red as the vase."""
    picture = cv2.imread(str(path)).astype(int)
    return picture[..., 2] - picture[..., 1] > 90


def test_qwen_paints_white_views_and_scenes_and_what_it_painted_is_found_again(tmp_path: Path, vase: Path) -> None:
    published, own = tmp_path / "models" / "Qwen" / "Qwen-Image-Edit-2511", tmp_path / "trained further"
    save_tiny_qwen_image(published)
    save_tiny_qwen_image(own, seed=7)
    save_tiny_lora(tmp_path / "models" / ANGLES)
    block: dict[str, Any] = {
        "objectName": "vase",
        "white": {"backend": "qwen-edit", **FAST},
        "perspectives": {"backend": "qwen-multicamera", "cameraViews": ["front", "right"], **FAST},
        "prompts": {"count": 2},
        # A checkpoint of the user's own, by its path.
        "scenes": {
            "backend": "qwen-edit", "iterations": 1, "size": [160, 160], "emptyShare": 0.5,
            "revision": own.as_uri(), **FAST,
        },
        "annotate": {"backend": "match"},
    }  # fmt: skip
    ended = paint(tmp_path, vase, block)
    assert ended.code == 0, ended.stderr
    output = tmp_path / "out"
    assert_consistent(output)
    state = json.loads((output / "pipeline_state.json").read_text())
    assert state["completed_steps"] == [1, 2, 3, 4, 6, 7]
    assert state["perspective_generator"] == "qwen_multicamera"
    assert len(state["perspective_images"]) == 2 and len(state["generated_images"]) == 6
    assert [backends_of(output, stage) for stage in ("white", "perspectives", "scenes")] == [
        {"qwen-edit"}, {"qwen-multicamera"}, {"qwen-edit"},
    ]  # fmt: skip
    revisions = {
        stage: {use["revision"] for record in record_lines(output, stage) for use in record.backends}
        for stage in ("white", "scenes")
    }
    assert all(len(found) == 1 for found in revisions.values()) and revisions["white"] != revisions["scenes"]
    white = cv2.imread(str(output / "01_white_background.png"))
    assert (white[:20] == 255).all() and red_in(output / "01_white_background.png").mean() > 0.1
    _check_found_again(output)

    before = ran(output)
    assert paint(tmp_path, vase, block).code == 0
    assert not new_work(before, output)
    shutil.rmtree(own)
    save_tiny_qwen_image(own, seed=8)
    assert paint(tmp_path, vase, block).code == 0
    assert {stage for stage, _ in new_work(before, output)} >= {"scenes", "annotate"}


def _check_found_again(output: Path) -> None:
    """Where the object was painted its mask fits; images without it have an empty label."""
    labels = sorted((output / "06_yolo_dataset").glob("*/labels/*.txt"))
    assert sum(label.read_text() == "" for label in labels) == 2
    for line in (output / "metadata.jsonl").read_text().splitlines():
        image = json.loads(line)
        if image["class"]:
            found = cv2.imread(str(output / ".scenewright" / "work" / "vase" / image["picture"] / "label.png"), 0) > 127
            assert overlap(found, red_in(output / image["file_name"])) > 0.8


def test_zero123_flux_and_variations_by_qwen_are_annotated_by_persam(tmp_path: Path, vase: Path) -> None:
    models = tmp_path / "models"
    save_tiny_zero123(models / "sudo-ai" / "zero123plus-v1.2")
    flux = models / "black-forest-labs" / "FLUX.1-Fill-dev"
    flux.parent.mkdir(parents=True)
    save_tiny_flux(flux, with_encoders=True)
    save_tiny_qwen_image(models / "Qwen" / "Qwen-Image-Edit-2511")
    save_tiny_sam(models / "facebook" / "sam-vit-base")
    block: dict[str, Any] = {
        "objectName": "vase",
        "perspectives": {"backend": "zero123", **FAST},
        "prompts": {"count": 2},
        "scenes": {"backend": "flux-fill", "iterations": 1, "size": [128, 128], **FAST},
        "vary": {"enabled": True, "backend": "qwen-edit", **FAST},
        "annotate": {
            "backend": "persam-f", "variant": "vit-b", "precision": "fp32", "scoreThreshold": 0.0, "persamEpochs": 3,
        },
        "augment": {"enabled": False},
    }  # fmt: skip
    licences = {"flux-1-dev-non-commercial", "cc-by-nc-4.0"}
    refused = paint(tmp_path, vase, block, accepted=licences - {"cc-by-nc-4.0"})
    assert refused.code == 10 and "cc-by-nc-4.0" in refused.stdout
    ended = paint(tmp_path, vase, block, accepted=licences)
    assert ended.code == 0, ended.stderr
    output = tmp_path / "out"
    assert_consistent(output)
    files = tree(output)
    views = sorted(name for name in files if name.startswith("02_perspectives/"))
    assert len(views) == 6 and views[0].endswith("perspective_00_right_30__raised_20.png")
    scenes, varied, combined = (
        [name for name in files if name.startswith(f"{folder}/") and name.endswith(".png")]
        for folder in ("04_dataset", "05_qwen_augmented_images", "05_qwen_combined_images")
    )
    assert len(scenes) == 13 and len(varied) == 13 and len(combined) == 26
    labels = [text for name, text in files.items() if "/labels/" in name]
    # A SAM with random weights misses the object in most images, and says so.
    with (output / "dropped.csv").open(newline="") as file:
        missed = [row["reason"] for row in csv.DictReader(file)]
    assert set(missed) <= {"object-absent"} and len(labels) + len(missed) == 26
    assert sum(text == b"" for text in labels) == 2 and len(labels) > 2
    used = [backends_of(output, stage) for stage in ("perspectives", "scenes", "vary")]
    assert used == [{"zero123"}, {"flux-fill"}, {"qwen-edit"}]
    assert {"persam-f"} == backends_of(output, "annotate") - {"exact"}
    assert files["06_yolo_dataset/classes.txt"] == b"vase\n"
    again = {name: data for name, data in files.items() if name.endswith((".png", ".txt"))}
    shutil.rmtree(output)
    assert paint(tmp_path, vase, block, accepted=licences).code == 0
    assert {name: data for name, data in tree(output).items() if name.endswith((".png", ".txt"))} == again
