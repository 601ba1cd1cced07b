"""A pipeline of two tiny stages with faults that can be ordered, for tests of the worker and of what starts it.

``double`` reads an image and writes an array, ``sum`` reads the array and writes a PNG and a JSON result. A sample
whose id contains a fault's name suffers it; parameters set where and when.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from pydantic import Field

from scenewright_stages.contract.inputs import InputKind
from scenewright_stages.contract.outputs import ArrayContract, ImageContract, OutputContract
from scenewright_stages.contract.params import Params
from scenewright_stages.contract.pipeline import INPUT, Pipeline, Read, StagePod, StageSpec


class FaultParams(Params):
    """Faults by the part of a sample id that orders them."""

    stage: str = "double"
    error: str = "!"
    sample_error: str = "!"
    kill: str = "!"
    kill_once: str = "!"
    nan: str = "!"
    small: str = "!"
    slow: str = "!"
    memory: str = "!"
    configuration: str = "!"
    flaky: str = "!"
    deaf: str = "!"
    seconds: float = 0.0
    marker_folder: str = ""


class SumParams(Params):
    """Of the second stage."""

    offset: int = 0


class ToyParams(Params):
    """Of the toy pipeline."""

    factor: int = Field(default=2, ge=1)
    sum: SumParams = SumParams()
    extra: bool = False
    seconds: float = 0.0
    faults: FaultParams = FaultParams()


def stages(params: ToyParams) -> tuple[StageSpec, ...]:
    """double -> sum, and an independent ``extra`` result on demand."""
    double = StageSpec(
        name="double",
        version=1,
        implementation="toy_stages:DoubleStage",
        reads=(Read(INPUT),),
        outputs=(
            OutputContract(
                "array",
                ".scenewright/work/{sample}/doubled.npz",
                "arrays",
                result=False,
                arrays=(ArrayContract("values", "float32", 1, minimum=0.0),),
            ),
            OutputContract("note", "{sample}/note.txt", "text"),
        ),
        parameters=("factor",),
        pod=StagePod(seconds_per_sample=0.05),
    )
    outputs: tuple[OutputContract, ...] = (
        OutputContract("result", "{sample}/result.json", "json", json_keys=("sum",)),
        OutputContract("image", "{sample}/image.png", "image", image=ImageContract(channels=1)),
    )
    if params.extra:
        outputs = (*outputs, OutputContract("extra", "{sample}/extra.txt", "text"))
    total = StageSpec(
        name="sum",
        version=1,
        implementation="toy_stages:SumStage",
        reads=(Read("double", ("array",)),),
        outputs=outputs,
        parameters=("sum", "extra"),
        pod=StagePod(seconds_per_sample=0.05),
    )
    return (double, total)


PIPELINE = Pipeline(
    name="toy",
    kind="SceneJob",
    params=ToyParams,
    input=InputKind(suffixes=(".txt",), sidecars={"weight": (".weight.txt",)}),
    stages=stages,
    reporter="toy_stages:ToyReporter",
)


def write_inputs(folder: Path, count: int) -> None:
    """Text files ``s0000.txt`` ... of a few numbers each."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        (folder / f"s{index:04d}.txt").write_text(" ".join(str(index + step) for step in range(1, 5)))


def touch_once(folder: str, name: str) -> bool:
    """True the first time that a marker of this name is asked for, over all processes."""
    path = Path(folder) / name.replace("/", "_")
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def note_run(folder: str, stage: str, sample: str) -> None:
    """Leaves a line for every time that a sample's code ran."""
    if folder:
        with (Path(folder) / "runs.txt").open("a") as file:
            file.write(json.dumps({"stage": stage, "sample": sample, "at": time.time()}) + "\n")


def runs(folder: Path) -> list[dict[str, Any]]:
    """The lines that :func:`note_run` left."""
    path = folder / "runs.txt"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
