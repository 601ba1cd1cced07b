"""What the worker asks of the code of a stage, and what it hands to it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scenewright_stages.contract.params import Params
from scenewright_stages.contract.pipeline import INPUT, StageSpec
from scenewright_stages.contract.records import Record
from scenewright_stages.contract.samples import Sample


@dataclass(frozen=True)
class BackendUse:
    """Which backend served a capability, with the identity and licence of its weights."""

    capability: str
    backend: str
    model: str = ""
    revision: str = ""
    licence: str = ""
    notes: str = ""


@dataclass(frozen=True)
class ModelSettings:
    """Where models come from and what may be used.

    Attributes:
        cache: folder of the model cache, None when there is none.
        device: ``cpu``, ``cuda`` or ``auto``.
        accepted_licences: licence tags that the spec accepts by name.
    """

    cache: Path | None = None
    device: str = "auto"
    accepted_licences: frozenset[str] = frozenset()


def _ignore_progress(fraction: float, message: str) -> None:
    """Used where nobody watches."""


@dataclass(frozen=True)
class StageContext:
    """What a stage knows of its job: fixed for the life of the process."""

    stage: StageSpec
    params: Params
    models: ModelSettings = ModelSettings()
    progress: Callable[[float, str], None] = _ignore_progress


@dataclass(frozen=True)
class StageInputs:
    """Local copies of what a stage reads for one sample.

    Attributes:
        files: ``(stage, output)`` -> local path; the job's own input is ``("input", "source")`` and its sidecars
            ``("input", role)``.
        seed: of every random draw on this sample in this stage.
        workspace: an empty folder for the outputs, removed after the upload.
    """

    files: Mapping[tuple[str, str], Path]
    seed: int
    workspace: Path

    def path(self, stage: str, output: str) -> Path:
        """Local path of an upstream output; KeyError names what is missing."""
        try:
            return self.files[(stage, output)]
        except KeyError:
            raise KeyError(f"{stage}/{output} is not among the inputs of this sample") from None

    def find(self, stage: str, output: str) -> Path | None:
        """Local path of an optional upstream output, or None."""
        return self.files.get((stage, output))

    @property
    def source(self) -> Path:
        """Local path of the sample's own input file."""
        return self.path(INPUT, "source")


@dataclass(frozen=True, eq=False)
class Pixels:
    """An image output as values; the worker checks them as they are and writes the PNG while the next sample runs.

    One object may serve several outputs: it is encoded once.

    Attributes:
        values: numpy uint8 array, (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA, sRGB; not to be changed afterwards.
        png: a PNG file from which exactly these values were read, which then need not be encoded again.
    """

    values: Any
    png: bytes | None = None


@dataclass(frozen=True)
class StageResult:
    """What a stage made of one sample.

    Attributes:
        outputs: by the output's declared name a local path, which must lie in the workspace, or pixels.
        metrics: numbers and short facts for the record and the report; deterministic ones only.
        warnings: sentences that the user must see although the sample is done.
        backends: who served each capability.
        gpu_seconds: time during which the sample held a GPU.
    """

    outputs: Mapping[str, Path | Pixels]
    metrics: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    backends: Sequence[BackendUse] = ()
    gpu_seconds: float = 0.0


class Stage(ABC):
    """Base class of all stages. The constructor loads models once; `process` runs for one sample at a time.

    `process` raises SampleError for a sample that cannot be made and ConfigurationError for a mistake that holds for
    every sample. Any other exception is recorded as a failure of the sample with its class name.
    """

    def __init__(self, context: StageContext) -> None:
        self.context = context

    @abstractmethod
    def process(self, sample: Sample, inputs: StageInputs) -> StageResult:
        """Makes the declared outputs of one sample."""

    def reduce_memory(self) -> bool:
        """Called once after CUDA ran out of memory; True when the stage can retry at a smaller setting."""
        return False

    def close(self) -> None:  # noqa: B027 - most stages hold nothing
        """Releases models."""


@dataclass(frozen=True)
class SampleOutcome:
    """Everything publish knows of one sample: its latest record of every stage and where its files are.

    Attributes:
        sample: the sample.
        records: latest record by stage name.
        files: ``(stage, output)`` -> a function that fetches the file and returns its local path.
    """

    sample: Sample
    records: Mapping[str, Record]
    files: Mapping[tuple[str, str], Callable[[], Path]]


@dataclass(frozen=True)
class CatalogueEntry:
    """A sample of a publication.

    Attributes:
        sample: the sample.
        records: its record of every stage.
    """

    sample: Sample
    records: Mapping[str, Record]


@dataclass(frozen=True)
class Catalogue:
    """What a publication holds, for the index files that loaders of data sets read.

    Attributes:
        name: of the job.
        entries: the samples that are done, in order.
        job: the effective spec as in ``job.json``.
    """

    name: str
    entries: Sequence[CatalogueEntry]
    job: Mapping[str, Any]


class Reporter(ABC):
    """Makes the pipeline's own part of the result that publish writes."""

    @abstractmethod
    def sample_page(self, outcome: SampleOutcome, job: Mapping[str, Any]) -> str:
        """Self-contained HTML page of one sample; `job` is the effective spec as in ``job.json``."""

    @abstractmethod
    def index_page(self, outcomes: Sequence[SampleOutcome], job: Mapping[str, Any]) -> str:
        """Self-contained HTML page over several samples; links to ``<sample>/report.html``."""
