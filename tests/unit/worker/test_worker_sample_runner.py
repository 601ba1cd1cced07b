"""What becomes of memory that runs out, and of a scratch disk that is full."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from scenewright_stages.contract.errors import ShardError
from scenewright_stages.contract.outputs import OutputContract
from scenewright_stages.contract.params import Params
from scenewright_stages.contract.pipeline import StageSpec
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import Stage, StageContext, StageInputs, StageResult
from scenewright_stages.worker.stage.sample_runner import RunningSamples, SampleOutcome, SampleRunner
from scenewright_stages.worker.worklists import WorkItem

SPEC = StageSpec("stage", 1, "module:Class", (), (OutputContract("text", "{sample}/t", "text"),))
CUDA_ERROR = type("OutOfMemoryError", (RuntimeError,), {"__module__": "torch"})


class Fragile(Stage):
    """Raises what it is given, as often as it is given; counts the tries."""

    def __init__(self, faults: list[BaseException], smaller: bool) -> None:
        super().__init__(StageContext(SPEC, Params()))
        self.faults, self.smaller, self.tries, self.reductions = faults, smaller, 0, 0

    def process(self, sample: Sample, inputs: StageInputs) -> StageResult:
        self.tries += 1
        if self.faults:
            raise self.faults.pop(0)
        path = inputs.workspace / "t"
        path.write_text("made")
        return StageResult({"text": path})

    def reduce_memory(self) -> bool:
        self.reductions += 1
        return self.smaller


def attempt(stage: Fragile, folder: Path, retries: int | None = 0) -> SampleOutcome:
    def inputs(item: WorkItem, workspace: Path) -> StageInputs:
        return StageInputs(files={}, params=Params(), seed=42, workspace=workspace)

    return SampleRunner(stage, folder / "scratch", retries, RunningSamples(), inputs).run(
        WorkItem(Sample("s"), "no record", folder=folder / "inputs")
    )


@pytest.mark.parametrize(
    ("fault", "reason"),
    [(CUDA_ERROR("CUDA out of memory. Tried ..."), "CudaOutOfMemory"), (MemoryError("no more"), "OutOfMemory")],
)
def test_memory_that_runs_out_is_tried_once_at_the_smaller_setting(
    tmp_path: Path, fault: BaseException, reason: str
) -> None:
    enough = Fragile([fault], smaller=True)
    assert attempt(enough, tmp_path / "enough").result is not None
    assert (enough.tries, enough.reductions) == (2, 1)
    again = Fragile([fault, fault, fault], smaller=True)
    outcome = attempt(again, tmp_path / "again", retries=5)
    assert outcome.result is None
    assert (outcome.reason, again.tries, again.reductions) == (reason, 2, 1)


def test_without_a_smaller_setting_it_is_a_failure_of_its_own_class(tmp_path: Path) -> None:
    stage = Fragile([MemoryError("no more")], smaller=False)
    outcome = attempt(stage, tmp_path)
    assert outcome.result is None
    assert (outcome.reason, stage.tries) == ("OutOfMemory", 1)


def test_a_sample_of_several_processes_is_never_begun_again_by_one_of_them(tmp_path: Path) -> None:
    for fault in (MemoryError("no more"), ValueError("once")):
        stage = Fragile([fault], smaller=True)
        assert attempt(stage, tmp_path / type(fault).__name__, retries=None).result is None
        assert (stage.tries, stage.reductions) == (1, 0)


def test_a_full_scratch_disk_ends_the_shard_and_not_the_sample(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(ShardError, match="scratch"):
        attempt(Fragile([full], smaller=True), tmp_path, retries=3)


def test_messages_name_no_temporary_folder(tmp_path: Path) -> None:
    outcome = attempt(Fragile([ValueError(f"bad file {tmp_path}/scratch/1-outputs/x")], smaller=True), tmp_path)
    assert outcome.result is None
    assert outcome.message == "bad file <scratch>/1-outputs/x"


def test_workspaces_of_failed_tries_are_removed(tmp_path: Path) -> None:
    outcome = attempt(Fragile([ValueError("once")], smaller=True), tmp_path, retries=1)
    assert outcome.result is not None
    assert list((tmp_path / "scratch").iterdir()) == [outcome.workspace]
