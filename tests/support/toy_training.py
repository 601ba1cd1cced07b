"""A pipeline of one stage that works in steps, keeps durable state, and may run as several processes."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from toy_pipeline import touch_once

from scenewright_stages.contract.errors import Abandoned, SampleError
from scenewright_stages.contract.inputs import InputKind
from scenewright_stages.contract.outputs import OutputContract
from scenewright_stages.contract.params import Params
from scenewright_stages.contract.pipeline import INPUT, Pipeline, Read, StagePod, StageSpec
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import Stage, StageContext, StageInputs, StageResult


class TrainingParams(Params):
    """Of the pipeline.

    Attributes:
        notes: folder that gets a line for every step, and the marks of what happens once.
        steps: of each sample.
        seconds: that a step takes.
        interval: of steps after which state is saved; 0: never.
        processes: that work on a sample together.
        dies_at, dying_rank: step at which a process kills itself, and which one does.
        dies_loading, fails_loading: whether the process kills itself, or fails, before it has loaded the stage.
        once: whether that happens in the first attempt alone.
        bad: samples whose id contains this fail after the first step.
    """

    notes: str
    steps: int = 6
    seconds: float = 0.0
    interval: int = 2
    processes: int = 1
    dies_at: int = 0
    dying_rank: int = 0
    dies_loading: bool = False
    fails_loading: bool = False
    once: bool = True
    bad: str = "!"


def stages(params: TrainingParams) -> tuple[StageSpec, ...]:
    """train, of each sample."""
    return (
        StageSpec(
            name="train",
            version=1,
            implementation="toy_training:Train",
            reads=(Read(INPUT),),
            outputs=(OutputContract("result", "{sample}.json", "json", json_keys=("sum",)),),
            parameters=("steps",),
            attributes=("prompt",),
            keeps_state=True,
            pod=StagePod(processes=params.processes),
        ),
    )


class Train(Stage[TrainingParams]):
    """Adds up the numbers of all ranks, step by step."""

    def __init__(self, context: StageContext[TrainingParams]) -> None:
        super().__init__(context)
        if context.params.dies_loading:
            os.kill(os.getpid(), signal.SIGKILL)
        if context.params.fails_loading:
            raise RuntimeError("no driver")

    def process(self, sample: Sample, inputs: StageInputs[TrainingParams]) -> StageResult:
        if inputs.ranks.count == 1:
            return self._train(sample, inputs, lambda value: value)
        # Torch takes seconds to load.
        import torch
        from torch import distributed

        distributed.init_process_group(
            "gloo",
            init_method=inputs.ranks.rendezvous,
            rank=inputs.ranks.rank,
            world_size=inputs.ranks.count,
        )

        def added_up(value: float) -> float:
            tensor = torch.tensor([value])
            distributed.all_reduce(tensor)
            return float(tensor.item())

        try:
            return self._train(sample, inputs, added_up)
        finally:
            distributed.destroy_process_group()

    def _train(
        self, sample: Sample, inputs: StageInputs[TrainingParams], added_up: Callable[[float], float]
    ) -> StageResult:
        params, state, rank = inputs.params, inputs.state, inputs.ranks.rank
        assert state is not None
        total = json.loads(state.files["sum.json"].read_text()) if state.step else 0.0
        for step in range(state.step + 1, params.steps + 1):
            with (Path(params.notes) / "steps.txt").open("a") as file:
                file.write(f"{sample.id} {rank} {step}\n")
            self._suffer(sample, rank, step)
            time.sleep(params.seconds)
            total += added_up(rank + 1.0)
            self.context.numbers({"sum": total})
            ending = rank == 0 and self.context.should_stop()
            if rank == 0 and (ending or (params.interval and step % params.interval == 0)):
                kept = inputs.workspace / "sum.json"
                kept.write_text(json.dumps(total))
                state.save(step, {"sum.json": kept})
            if ending:
                raise Abandoned
        result = inputs.workspace / "result.json"
        result.write_text(json.dumps({"sum": total, "prompt": sample.attributes.get("prompt", "")}))
        return StageResult({"result": result})

    def _suffer(self, sample: Sample, rank: int, step: int) -> None:
        params = self.params
        if (step, rank) == (params.dies_at, params.dying_rank) and (
            not params.once or touch_once(params.notes, f"died-{sample.id}")
        ):
            os.kill(os.getpid(), signal.SIGKILL)
        if params.bad in sample.id and step == 2:
            raise SampleError("Diverged", "another learning rate")


PIPELINE = Pipeline(
    name="training",
    kind="DatasetJob",
    params=TrainingParams,
    stages=stages,
    input=InputKind(suffixes=(".txt",), listings=True),
)
