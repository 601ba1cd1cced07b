"""The step that fills the model cache: every checkpoint that the stages name, each from its own place."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from toy_chains import chain_of

from scenewright_stages.backends.edit.facts import QWEN_2511
from scenewright_stages.backends.runtime.cache.sources import SOURCE_ENVIRONMENT
from scenewright_stages.backends.runtime.errors import MissingWeights
from scenewright_stages.contract.task import TaskModels
from scenewright_stages.pipelines import pipeline
from scenewright_stages.worker.stage.models_step import run_models


def copy_of(folder: Path, content: str) -> Path:
    """Files with the names of a published Qwen-Image-Edit."""
    for pattern in QWEN_2511.required_files:
        path = folder / pattern.replace("*", "part")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


def filled(tmp_path: Path, scenes_revision: str) -> Any:
    """The report of the step where white paints with published weights, and scenes with others."""
    copy_of(tmp_path / "mirror" / QWEN_2511.id, "published")
    block = {
        "white": {"backend": "qwen-edit"},
        "scenes": {"backend": "qwen-edit", "revision": scenes_revision},
        "annotate": {"backend": "match"},
    }
    models = TaskModels(cache=str(tmp_path / "cache"))
    task = SimpleNamespace(models=models, run="first")
    session: Any = SimpleNamespace(task=task, chain=chain_of(pipeline("referenceObject"), block), progress=MagicMock())
    return run_models(session, {SOURCE_ENVIRONMENT: (tmp_path / "mirror").as_uri()})


def test_two_checkpoints_of_one_model_are_both_seen_to(tmp_path: Path) -> None:
    own = copy_of(tmp_path / "own", "trained further")
    report = filled(tmp_path, str(own))
    assert report.samples == 2
    assert sorted(report.outputs) == [f"{QWEN_2511.id}@{own}", f"{QWEN_2511.id}@main"]
    assert report.outputs[f"{QWEN_2511.id}@main"].startswith("fetched")
    assert report.outputs[f"{QWEN_2511.id}@{own}"].startswith("present, revision local-")


def test_a_checkpoint_that_is_not_there_ends_the_step(tmp_path: Path) -> None:
    with pytest.raises(MissingWeights, match="/models/nowhere"):
        filled(tmp_path, "/models/nowhere")
