"""The interface between the worker and a stage's code.

A stage is a class whose constructor loads models once and whose `process` makes the declared outputs of one sample.
It sees only what its :class:`~scenewright_stages.contract.pipeline.StageSpec` declares.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from scenewright_stages.contract.params import Params
from scenewright_stages.contract.pipeline import INPUT, StageSpec
from scenewright_stages.contract.records import Record
from scenewright_stages.contract.results import End, Results, StageTime, stage_time
from scenewright_stages.contract.samples import SOURCE, Sample

ParamsT = TypeVar("ParamsT", bound=Params)
Local = Path | tuple[Path, ...]
"""Where an output lies for reading: a file or folder, or the numbered files in order."""


@dataclass(frozen=True)
class BackendUse:
    """Which backend served a capability, with the identity and licence of its weights."""

    capability: str
    backend: str
    model: str = ""
    revision: str = ""
    licence: str = ""
    notes: str = ""

    def to_json(self) -> dict[str, str]:
        """As a JSON object for records and metadata; empty fields are left out."""
        return {name: value for name, value in vars(self).items() if value}


@dataclass(frozen=True)
class ModelSettings:
    """Where models come from and which may be used.

    Attributes:
        cache: folder of the model cache, if there is one.
        device: ``cpu``, ``cuda`` or ``auto``.
        accepted_licences: licence tags that the spec accepts by name.
    """

    cache: Path | None = None
    device: str = "auto"
    accepted_licences: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Ranks:
    """The rank of this process among those that work on one sample together; rank 0 reports and writes.

    Attributes:
        rank: from 0.
        count: number of ranks.
        rendezvous: ``init_method`` for ``torch.distributed.init_process_group``; a new one for every sample.
    """

    rank: int = 0
    count: int = 1
    rendezvous: str = ""


def _ignore_progress(fraction: float, message: str) -> None:
    """Default that discards progress."""


def _ignore_numbers(numbers: Mapping[str, float]) -> None:
    """Default that discards metrics."""


def _never() -> bool:
    """Default that never asks the stage to stop."""
    return False


@dataclass(frozen=True)
class StageContext(Generic[ParamsT]):
    """What a stage knows about its job; fixed for the life of the process.

    Attributes:
        stage: its declaration.
        params: effective parameters of the pipeline.
        models: where models come from.
        progress: called with a fraction from 0 to 1 and a message; raises Abandoned if the process must end now.
        numbers: called with at most 16 metrics (lower-case names) that users see while the sample runs.
        should_stop: whether the process will end soon; a stage that keeps state then saves it and raises Abandoned.
    """

    stage: StageSpec
    params: ParamsT
    models: ModelSettings = ModelSettings()
    progress: Callable[[float, str], None] = _ignore_progress
    numbers: Callable[[Mapping[str, float]], None] = _ignore_numbers
    should_stop: Callable[[], bool] = _never


class StageState(Protocol):
    """Durable state of one sample in a stage that keeps state."""

    @property
    def step(self) -> int:
        """Step of the last state saved by any process; 0 if there is none."""

    @property
    def files(self) -> Mapping[str, Path]:
        """Local copies of that state's files by name; empty if there is none."""

    def save(self, step: int, files: Mapping[str, Path]) -> None:
        """Replaces the stored state atomically and returns once it is durable; `step` must increase."""


@dataclass(frozen=True)
class Member:
    """A sibling or child whose outputs a stage reads, with the attributes that the stage declares."""

    sample: Sample
    files: Mapping[str, Local]


@dataclass(frozen=True)
class StageInputs(Generic[ParamsT]):
    """Local copies of what a stage reads for one sample.

    Attributes:
        files: local path by ``(stage, output)``; the job's own input is ``("input", role)``.
        params: effective parameters of this sample: the job's, with the overrides of the sample's entry.
        seed: seed of every random draw on this sample in this stage.
        workspace: an empty folder for the outputs, removed after the upload.
        families: siblings or children that are done, by stage, in the order of their expansion.
        named: local folder or file of each named input, by name.
        hashes: hash of each named input (the publication or the chosen file), by name.
        answer: what a person chose, if the stage asks.
        state: durable state, if the stage keeps state.
        ranks: this process's rank.
    """

    files: Mapping[tuple[str, str], Local]
    params: ParamsT
    seed: int
    workspace: Path
    families: Mapping[str, Sequence[Member]] = field(default_factory=dict)
    named: Mapping[str, Path] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)
    answer: Mapping[str, str] = field(default_factory=dict)
    state: StageState | None = None
    ranks: Ranks = Ranks()

    def path(self, stage: str, output: str) -> Path:
        """Local path of an upstream file or folder; KeyError if it is missing or undeclared."""
        found = self._found(stage, output)
        if isinstance(found, Path):
            return found
        raise KeyError(f"{stage}/{output} is {len(found)} numbered files: use `paths`")

    def paths(self, stage: str, output: str) -> tuple[Path, ...]:
        """Local paths of numbered upstream files, in order; KeyError as for :meth:`path`."""
        found = self._found(stage, output)
        return (found,) if isinstance(found, Path) else found

    def find(self, stage: str, output: str) -> Path | None:
        """Local path of an optional upstream output, or None."""
        return self.path(stage, output) if (stage, output) in self.files else None

    def members(self, stage: str) -> Sequence[Member]:
        """The siblings or children read from a stage; KeyError if none are declared."""
        return self.families[stage]

    @property
    def source(self) -> Path:
        """Local path of the sample's own input file."""
        return self.path(INPUT, SOURCE)

    def _found(self, stage: str, output: str) -> Local:
        try:
            return self.files[(stage, output)]
        except KeyError:
            raise KeyError(f"{stage}/{output} is not among the inputs of this sample") from None


@dataclass(frozen=True, eq=False)
class Pixels:
    """An image output as pixel values. The worker checks them and writes the PNG while the next sample runs.

    One object may serve several outputs; it is encoded once.

    Attributes:
        values: numpy uint8 array, (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA, sRGB; must not be modified afterwards.
        png: a PNG file with exactly these values, used instead of encoding them again.
    """

    values: Any
    png: bytes | None = None


Made = Path | Pixels | Sequence[Path | Pixels]
"""An output as a stage hands it over."""


@dataclass(frozen=True)
class StageResult:
    """What a stage made of one sample.

    Attributes:
        outputs: by declared name: a path in the workspace, pixels, a sequence of either for numbered files, or the path
            of a folder.
        metrics: numbers and short facts for the record and the report; must be deterministic.
        warnings: sentences that the user must see although the sample is done.
        backends: which backend served each capability.
        gpu_seconds: time during which the sample held a GPU.
    """

    outputs: Mapping[str, Made]
    metrics: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    backends: Sequence[BackendUse] = ()
    gpu_seconds: float = 0.0


class Stage(ABC, Generic[ParamsT]):
    """Base class of all stages. The constructor loads models once; `process` handles one sample per call.

    `process` raises SampleError if this sample fails and ConfigurationError for a mistake that affects every sample.
    Any other exception is recorded as a failure of the sample under its class name.
    """

    def __init__(self, context: StageContext[ParamsT]) -> None:
        self.context = context

    @property
    def params(self) -> ParamsT:
        """Effective parameters of the job; those of a sample are in its inputs."""
        return self.context.params

    @abstractmethod
    def process(self, sample: Sample, inputs: StageInputs[ParamsT]) -> StageResult:
        """Makes the declared outputs of one sample."""

    def reduce_memory(self) -> bool:
        """Called once after CUDA ran out of memory; True if the stage can retry at a smaller setting."""
        return False

    def close(self) -> None:
        """Releases models."""


@dataclass(frozen=True)
class SampleOutcome:
    """Everything publish knows about one sample: its latest record in every stage, and its files.

    Attributes:
        sample: the sample.
        records: latest record by stage name.
        files: by ``(stage, output)``, a function that fetches the file or folder and returns its local path.
        numbered: the same for outputs of numbered files.
        children: outcomes of the samples that were expanded from it and gathered again.
        end, reason, message: how it ended, and why it is not done.
    """

    sample: Sample
    records: Mapping[str, Record]
    files: Mapping[tuple[str, str], Callable[[], Path]]
    numbered: Mapping[tuple[str, str], Callable[[], tuple[Path, ...]]] = field(default_factory=dict)
    children: Sequence[SampleOutcome] = ()
    end: End = "done"
    reason: str = ""
    message: str = ""

    def times(self) -> dict[str, StageTime]:
        """Times by stage over its own records and those of all samples below it; `Reporter.results` has the order."""
        return {stage: stage_time(records) for stage, records in self.all_records().items()}

    def all_records(self) -> dict[str, list[Record]]:
        """Records by stage: its own and those of all samples below it."""
        found: dict[str, list[Record]] = {stage: [record] for stage, record in self.records.items()}
        for child in self.children:
            for stage, records in child.all_records().items():
                found.setdefault(stage, []).extend(records)
        return found


@dataclass(frozen=True)
class CatalogueEntry:
    """A sample of a publication.

    Attributes:
        sample: the sample.
        records: its record in every stage.
    """

    sample: Sample
    records: Mapping[str, Record]


@dataclass(frozen=True)
class Dropped:
    """A sample that is not in the publication: where it ended, and why.

    Attributes:
        sample: the sample, at its own level.
        stage: where it ended.
        reason, message: why.
        end: what became of it.
        unit: whether it is a unit of the publication.
        follows: whether it only misses something because of another one, which is in the list before it.
    """

    sample: Sample
    stage: str
    reason: str
    message: str
    end: End = "failed"
    unit: bool = True
    follows: bool = False


@dataclass(frozen=True)
class Dated:
    """Content of an index file that contains times, so it differs between runs of the same work."""

    content: bytes


IndexContent = bytes | Dated | Callable[[], bytes]
"""Content of an index file. A function is called when the file is stored, so only one large file is in memory."""


@dataclass(frozen=True)
class Catalogue:
    """What a publication holds; input of the index files that data set loaders read.

    Attributes:
        name: of the job.
        entries: the samples that are done, in order. Every stage has a record, unless the pipeline has
            `partial_catalogue` and the run selected only some stages.
        job: the effective spec as in ``job.json``.
        dropped: the samples that are not done and why, causes first; never those that only were not selected.
        read: returns the content of a published or intermediate file, by path.
        at: time of publication in seconds since the epoch.
        seconds: wall time of all stages, including reused results; the same number as on the pages.
        to_the_end: whether this run selected all last stages of the chain. If not, missing entries say nothing about
            the job.
    """

    name: str
    entries: Sequence[CatalogueEntry]
    job: Mapping[str, Any]
    dropped: Sequence[Dropped] = ()
    read: Callable[[str], bytes] = lambda path: b""
    at: float = 0.0
    seconds: float = 0.0
    to_the_end: bool = True


class Reporter(ABC):
    """Makes the pipeline's report pages for publish.

    Attributes:
        results: how the whole job ended. publish sets it before it asks for a page; every number on a page is from it.
    """

    results: Results = Results()

    @abstractmethod
    def sample_page(self, outcome: SampleOutcome, job: Mapping[str, Any]) -> str:
        """Self-contained HTML page of one sample; `job` is the effective spec as in ``job.json``."""

    @abstractmethod
    def index_page(self, outcomes: Sequence[SampleOutcome], job: Mapping[str, Any]) -> str:
        """Self-contained HTML page over several samples; links to ``<sample>/report.html``."""
