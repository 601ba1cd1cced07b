"""Implementation of the toy pipeline's stages."""

from __future__ import annotations

import html
import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image
from toy_pipeline import FaultParams, ToyParams, note_run, touch_once

from scenewright_stages.contract.errors import ConfigurationError, SampleError
from scenewright_stages.contract.pipeline import INPUT
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import BackendUse, Reporter, SampleOutcome, Stage, StageInputs, StageResult


class DoubleStage(Stage):
    """Multiplies the numbers of a text file."""

    def process(self, sample: Sample, inputs: StageInputs) -> StageResult:
        params = _begin(self, sample)
        values = np.array([float(word) for word in inputs.source.read_text().split()], np.float32) * params.factor
        if inputs.find(INPUT, "weight"):
            values *= float(inputs.path(INPUT, "weight").read_text())
        if _is(self, "nan", sample):
            values[0] = np.nan
        array, note = inputs.workspace / "a.npz", inputs.workspace / "n.txt"
        np.savez(array, values=values)
        note.write_text(f"{sample.id} seed {inputs.seed}\n")
        _work(self, params.seconds)
        return StageResult({"array": array, "note": note}, backends=[BackendUse("arithmetic", "classic")])

    def reduce_memory(self) -> bool:
        return True


class SumStage(Stage):
    """Adds the numbers up and draws them."""

    def process(self, sample: Sample, inputs: StageInputs) -> StageResult:
        params = _begin(self, sample)
        values = np.load(inputs.path("double", "array"))["values"]
        total = float(values.sum()) + params.sum.offset
        result, image = inputs.workspace / "result.json", inputs.workspace / "image.png"
        result.write_text(json.dumps({"sum": total, "seed": inputs.seed}))
        side = 4 if _is(self, "small", sample) else 16
        pixels = (np.arange(side * side).reshape(side, side) * 3 + int(total)) % 251
        Image.fromarray(pixels.astype(np.uint8)).save(image)
        outputs = {"result": result, "image": image}
        if params.extra:
            outputs["extra"] = inputs.workspace / "extra.txt"
            outputs["extra"].write_text("more")
        return StageResult(outputs, metrics={"sum": total}, warnings=["large"] if total > 1e6 else [])


class ToyReporter(Reporter):
    """Pages of one line."""

    def sample_page(self, outcome: SampleOutcome, job: Mapping[str, Any]) -> str:
        result = json.loads(outcome.files[("sum", "result")]().read_text())
        return f"<!doctype html><html><body>{html.escape(outcome.sample.id)}: {result['sum']}</body></html>"

    def index_page(self, outcomes: Sequence[SampleOutcome], job: Mapping[str, Any]) -> str:
        names = " ".join(html.escape(outcome.sample.id) for outcome in outcomes)
        return f"<!doctype html><html><body>{len(outcomes)}: {names}</body></html>"


class SlowReporter(ToyReporter):
    """Needs a minute for a page."""

    def sample_page(self, outcome: SampleOutcome, job: Mapping[str, Any]) -> str:
        time.sleep(60)
        return super().sample_page(outcome, job)


def _params(stage: Stage) -> ToyParams:
    params = stage.context.params
    assert isinstance(params, ToyParams)
    return params


def _is(stage: Stage, fault: str, sample: Sample) -> bool:
    faults: FaultParams = _params(stage).faults
    return faults.stage == stage.context.stage.name and getattr(faults, fault) in sample.id


def _begin(stage: Stage, sample: Sample) -> ToyParams:
    """Notes the run and commits the faults that were ordered."""
    params = _params(stage)
    faults = params.faults
    note_run(faults.marker_folder, stage.context.stage.name, sample.id)
    if _is(stage, "kill", sample):
        os.kill(os.getpid(), signal.SIGKILL)
    if _is(stage, "kill_once", sample) and touch_once(faults.marker_folder, f"kill-{sample.id}"):
        os.kill(os.getpid(), signal.SIGKILL)
    if _is(stage, "error", sample):
        raise RuntimeError(f"boom in {sample.id} \U0001f4a5")
    if _is(stage, "flaky", sample) and touch_once(faults.marker_folder, f"flaky-{sample.id}"):
        raise RuntimeError("only the first time")
    if _is(stage, "memory", sample) and touch_once(faults.marker_folder, f"memory-{sample.id}"):
        raise MemoryError("no more")
    if _is(stage, "sample_error", sample):
        raise SampleError("ToyBroken", "\U0001f4a5" * 200)
    if _is(stage, "configuration", sample):
        raise ConfigurationError("spec.toy.factor", params.factor, "another one")
    if _is(stage, "deaf", sample):
        time.sleep(faults.seconds)
    if _is(stage, "slow", sample):
        _work(stage, faults.seconds)
    return params


def _work(stage: Stage, seconds: float) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        stage.context.progress(1.0 - left / seconds, "working")
        time.sleep(min(0.05, left))
