"""The ``models`` step as a process: what it fetches, what it tells, and how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from plugins import with_plugins
from teleport_pipeline import PIPELINE as TELEPORT

from scenewright_stages.backends.runtime.cache.weights import weights_status
from scenewright_stages.contract.backends import Weights
from scenewright_stages.contract.keys import stage_keys
from scenewright_stages.contract.pipeline import Pipeline
from scenewright_stages.contract.reports import Report
from scenewright_stages.contract.task import ENVIRONMENT, Task
from scenewright_stages.relight.pipeline import PIPELINE as RELIGHT
from scenewright_stages.vistadream.pipeline import PIPELINE

SMALL = "depth-anything/Depth-Anything-V2-Small-hf"
LARGE = "depth-anything/Depth-Anything-V2-Large-hf"


@dataclass
class Step:
    """The step's process and the folders that it works with."""

    folder: Path
    accepted: tuple[str, ...] = ()

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    def copy_of(self, repository: str, size: int = 10, checkpoint: str = "model.safetensors") -> None:
        """Puts the files of a repository into the mirror."""
        target = self.folder / "mirror" / repository
        target.mkdir(parents=True)
        (target / "config.json").write_text("{}")
        (target / checkpoint).write_bytes(b"x" * size)

    def run(
        self, block: dict[str, Any], cache: Path | None = None, pipeline: Pipeline = PIPELINE, **environment: str
    ) -> tuple[int, Report]:
        """Exit code and termination message."""
        params = pipeline.parse(block)
        stages = pipeline.stages(params)
        task = Task(
            kind="SceneJob",
            name="a",
            pipeline=pipeline.name,
            parameters=block,
            step="models",
            run="r-1",
            work_hash="0" * 16,
            keys=stage_keys(pipeline, params, {}, 42),
            input={"uri": "s3://not/there"},  # type: ignore[arg-type]
            output={"uri": str(self.folder / "out")},  # type: ignore[arg-type]
            select_stages=[stage.name for stage in stages],
            models={"cache": str(cache or self.cache), "accept_licenses": list(self.accepted)},  # type: ignore[arg-type]
        )
        variables = {
            **os.environ,
            ENVIRONMENT: task.model_dump_json(by_alias=True),
            "SCENEWRIGHT_MODEL_SOURCE": (self.folder / "mirror").as_uri(),
            "SCENEWRIGHT_TERMINATION_LOG": str(self.folder / "termination"),
            "SCENEWRIGHT_SCRATCH": str(self.folder / "scratch"),
            "SCENEWRIGHT_POD": "a-pod",
            **with_plugins(teleport="teleport_pipeline:PIPELINE"),
            **environment,
        }
        done = subprocess.run(
            [sys.executable, "-m", "scenewright_stages.worker"], env=variables, check=False, capture_output=True
        )
        return done.returncode, Report.from_bytes((self.folder / "termination").read_bytes())

    def log(self) -> str:
        """The stored log."""
        return "".join(path.read_text() for path in (self.folder / "out" / ".scenewright" / "logs").rglob("models-*"))


@pytest.fixture
def step(tmp_path: Path) -> Step:
    return Step(tmp_path)


def present(repository: str, cache: Path) -> bool:
    weights = Weights(repository, "", "", 0, ("config.json", "*.safetensors"))
    return weights_status(weights, cache).state == "present"


def test_the_chains_weights_are_fetched_and_reported(step: Step) -> None:
    step.copy_of(SMALL)
    code, report = step.run({"mode": "coarse", "depth": {"backend": "depth-anything"}})
    assert code == 0 and report.step == "models" and report.samples == 1
    assert report.outputs[SMALL].startswith("fetched, revision ") and present(SMALL, step.cache)
    assert f"{SMALL}: fetched" in step.log()
    code, report = step.run({"mode": "coarse", "depth": {"backend": "depth-anything"}}, SCENEWRIGHT_MODEL_SOURCE="")
    assert code == 0 and report.outputs[SMALL].startswith("present, revision "), "no source is needed any more"


def test_the_variant_of_the_block_is_the_one_that_is_fetched(step: Step) -> None:
    step.copy_of(LARGE)
    step.accepted = ("cc-by-nc-4.0",)
    code, report = step.run({"mode": "coarse", "depth": {"backend": "depth-anything", "variant": "large"}})
    assert code == 0 and list(report.outputs) == [LARGE]


def test_a_chain_without_weights_needs_nothing(step: Step) -> None:
    code, report = step.run({"mode": "coarse"})
    assert code == 0 and report.samples == 0 and not step.cache.exists()


def test_a_licence_that_is_not_accepted_ends_the_job_before_anything_is_fetched(step: Step) -> None:
    step.copy_of(LARGE)
    code, report = step.run({"mode": "coarse", "depth": {"backend": "depth-anything", "variant": "large"}})
    assert code == 10 and report.outputs["field"] == "models.acceptLicenses" and not present(LARGE, step.cache)


def test_the_step_goes_past_a_licence_that_was_not_accepted_where_an_alternative_serves(step: Step) -> None:
    step.copy_of("facebook/sam2.1-hiera-large", checkpoint="sam2.1_hiera_large.pt")
    block = {"segmentation": {"backends": ["sam3", "sam2"]}}
    code, report = step.run(block, pipeline=RELIGHT)
    assert code == 0 and list(report.outputs) == ["facebook/sam2.1-hiera-large"]
    code, report = step.run({"segmentation": {"backends": ["sam2", "sam3"]}}, pipeline=RELIGHT)
    assert code == 10 and report.outputs["field"] == "models.acceptLicenses" and "sam-license" in report.message


def test_an_accepted_licence_brings_the_weights_of_the_whole_chain(step: Step) -> None:
    step.copy_of("facebook/sam2.1-hiera-large", checkpoint="sam2.1_hiera_large.pt")
    step.copy_of("facebook/sam3")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (step.folder / "mirror" / "facebook" / "sam3" / name).write_text("{}")
    step.accepted = ("sam-license",)
    code, report = step.run({"segmentation": {"backends": ["sam3", "sam2"]}}, pipeline=RELIGHT)
    assert code == 0 and sorted(report.outputs) == ["facebook/sam2.1-hiera-large", "facebook/sam3"]


def test_all_sets_of_a_pipelines_own_backend_are_fetched(step: Step) -> None:
    step.copy_of("lab/sender")
    step.copy_of("lab/receiver")
    step.accepted = ("lab-a",)
    code, report = step.run({}, pipeline=TELEPORT)
    assert code == 0 and list(report.outputs) == ["lab/sender", "lab/receiver"]
    step.accepted = ()
    code, report = step.run({}, pipeline=TELEPORT)
    assert code == 10 and "lab-a" in report.message


def test_the_variant_of_a_chain_is_that_of_its_backends(step: Step) -> None:
    step.copy_of("lab/sender")
    step.copy_of("lab/receiver")
    step.accepted = ("lab-a",)
    code, report = step.run({"backends": ["pair", "walk"], "variant": "receiver-alone"}, pipeline=TELEPORT)
    assert code == 0 and list(report.outputs) == ["lab/sender", "lab/receiver"], "as the stage will load them"


def test_a_mirror_without_the_weights_ends_the_job_with_a_remedy(step: Step) -> None:
    code, report = step.run({"mode": "coarse", "depth": {"backend": "depth-anything"}})
    assert code == 10 and SMALL in report.message and "stages.modelCache.source" in report.message


def test_a_full_volume_ends_the_job_with_a_remedy(step: Step, small_disk: Path) -> None:
    step.copy_of(SMALL, size=2 << 20)
    code, report = step.run({"mode": "coarse", "depth": {"backend": "depth-anything"}}, cache=small_disk)
    assert code == 10 and report.outputs["field"] == "spec.models.cacheClaim" and "full" in report.message
    assert not list(small_disk.glob(".fetching-*"))


def test_a_network_that_is_away_is_worth_another_attempt(step: Step) -> None:
    pytest.importorskip("huggingface_hub")
    block = {"mode": "coarse", "depth": {"backend": "depth-anything"}}
    code, report = step.run(block, SCENEWRIGHT_MODEL_SOURCE="http://127.0.0.1:1", HF_HUB_OFFLINE="0")
    assert code == 1 and report.reason == "FetchFailed"


def test_the_report_fits_the_termination_message(step: Step) -> None:
    step.copy_of(SMALL)
    step.run({"mode": "coarse", "depth": {"backend": "depth-anything"}})
    assert json.loads((step.folder / "termination").read_text())["step"] == "models"
