"""The toy pipeline's first stage alone, which notes outside the storage when it begins and ends each sample.

How long a sample takes is told by the environment and not by parameters, so that processes of one run may differ and
make the same bytes.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from toy_pipeline import PIPELINE as TOY
from toy_pipeline import ToyParams
from toy_stages import DoubleStage

from scenewright_stages.contract.outputs import ImageContract, OutputContract
from scenewright_stages.contract.pipeline import StagePod, StageSpec
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import Pixels, StageInputs, StageResult

PREFIX = "TOY_NOTING_"
STEP_SECONDS = 0.05
_ordinals = itertools.count(1)


@dataclass(frozen=True)
class Behaviour:
    """How a process works, by the environment.

    Attributes:
        notes: file that gets a line when a sample begins and when it ends.
        seconds: that a sample takes.
        long_at: the sample of the process, counted from 1, that takes a minute; 0: none does.
        deaf: that one does not look up meanwhile.
        side: of a picture of noise that every sample makes, in pixels.
    """

    notes: str
    seconds: float = 0.0
    long_at: int = 0
    deaf: bool = False
    side: int = 32

    def variables(self) -> dict[str, str]:
        """The environment that says so."""
        return {PREFIX + name: str(value) for name, value in asdict(self).items()}

    @classmethod
    def told(cls, environment: Mapping[str, str] = os.environ) -> Behaviour:
        """What the environment says."""
        told = {name: environment[PREFIX + name] for name in cls.__dataclass_fields__}
        return cls(
            told["notes"], float(told["seconds"]), int(told["long_at"]), told["deaf"] == "True", int(told["side"])
        )


@dataclass(frozen=True)
class Note:
    """One line of a process.

    Attributes:
        what: ``begin`` or ``end``.
        sample: its id.
        at: seconds since the epoch.
        waiting: workspaces of samples before it whose outputs are not stored yet.
        resident: bytes of memory of the process.
    """

    what: str
    sample: str
    at: float
    waiting: int
    resident: int


def read_notes(path: Path) -> list[Note]:
    """The complete lines of a file, in order; none when there is no file."""
    if not path.exists():
        return []
    return [Note(**json.loads(line)) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


class NotingStage(DoubleStage):
    """Doubles, makes noise, and takes its time."""

    def process(self, sample: Sample, inputs: StageInputs) -> StageResult:
        behaviour = Behaviour.told()
        ordinal = next(_ordinals)
        _note(behaviour, "begin", sample, inputs.workspace)
        made = super().process(sample, inputs)
        if ordinal == behaviour.long_at and behaviour.deaf:
            time.sleep(60.0)
        self._take(60.0 if ordinal == behaviour.long_at else behaviour.seconds)
        shape = (behaviour.side, behaviour.side, 3)
        picture = Pixels(np.random.default_rng(inputs.seed).integers(0, 256, shape, np.uint8))
        _note(behaviour, "end", sample, inputs.workspace)
        return replace(made, outputs={**made.outputs, "picture": picture})

    def _take(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.context.progress(1.0 - left / seconds, "working")
            time.sleep(min(STEP_SECONDS, left))


def _note(behaviour: Behaviour, what: str, sample: Sample, workspace: Path) -> None:
    waiting = sum(path != workspace for path in workspace.parent.glob("*-outputs"))
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    line = json.dumps(asdict(Note(what, sample.id, time.time(), waiting, resident))) + "\n"
    descriptor = os.open(behaviour.notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(descriptor, line.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _stages(params: ToyParams, threads: int = 1) -> tuple[StageSpec, ...]:
    double, _ = TOY.stages(params)
    picture = OutputContract("picture", "{sample}/picture.png", "image", image=ImageContract(channels=3))
    outputs = (*double.outputs, picture)
    return (replace(double, implementation="toy_noting:NotingStage", outputs=outputs, pod=StagePod(threads=threads)),)


PIPELINE = replace(TOY, stages=_stages, reporter="")
SEVERAL = replace(PIPELINE, stages=lambda params: _stages(params, threads=3))
