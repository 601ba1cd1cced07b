"""What the worker asks of the code of a stage, and what it hands to it.

A stage is a class whose constructor loads models once and whose `process` makes the declared outputs of one sample.
It sees what its :class:`~scenewright_stages.contract.pipeline.StageSpec` declares and nothing else.
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
        """As a JSON object of records and metadata; without what is empty."""
        return {name: value for name, value in vars(self).items() if value}


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


@dataclass(frozen=True)
class Ranks:
    """Which of the processes that work on one sample together this is; rank 0 reports and writes.

    Attributes:
        rank: from 0.
        count: how many there are.
        rendezvous: ``init_method`` for ``torch.distributed.init_process_group``, anew for every sample.
    """

    rank: int = 0
    count: int = 1
    rendezvous: str = ""


def _ignore_progress(fraction: float, message: str) -> None:
    """Used where nobody watches."""


def _ignore_numbers(numbers: Mapping[str, float]) -> None:
    """Used where nobody watches."""


def _never() -> bool:
    """Used where nothing can end the process."""
    return False


@dataclass(frozen=True)
class StageContext(Generic[ParamsT]):
    """What a stage knows of its job: fixed for the life of the process.

    Attributes:
        stage: as declared.
        params: effective parameters of the pipeline.
        models: where models come from.
        progress: called with a fraction from 0 to 1 and a message; raises Abandoned when the process must end now.
        numbers: called with at most 16 named numbers (lower-case names) that users see while the sample runs.
        should_stop: whether the process is to end soon; a stage that keeps state saves it then and raises Abandoned.
    """

    stage: StageSpec
    params: ParamsT
    models: ModelSettings = ModelSettings()
    progress: Callable[[float, str], None] = _ignore_progress
    numbers: Callable[[Mapping[str, float]], None] = _ignore_numbers
    should_stop: Callable[[], bool] = _never


class StageState(Protocol):
    """Durable state of one sample in a stage that keeps some."""

    @property
    def step(self) -> int:
        """Step of the last state that was saved, in whichever process; 0 when there is none."""

    @property
    def files(self) -> Mapping[str, Path]:
        """Local copies of that state's files by name; empty when there is none."""

    def save(self, step: int, files: Mapping[str, Path]) -> None:
        """Stores a state, durably and as a whole, in place of the last one; `step` grows. Returns once it is safe."""


@dataclass(frozen=True)
class Member:
    """A sibling or child whose outputs a stage reads; it shows the attributes that the stage declares."""

    sample: Sample
    files: Mapping[str, Local]


@dataclass(frozen=True)
class StageInputs(Generic[ParamsT]):
    """Local copies of what a stage reads for one sample.

    Attributes:
        files: ``(stage, output)`` -> where it lies; the job's own input is ``("input", role)``.
        params: effective parameters of this sample: the job's, with what the sample's entry overrides.
        seed: of every random draw on this sample in this stage.
        workspace: an empty folder for the outputs, removed after the upload.
        families: siblings or children that are done, by stage, in the order of their expansion.
        named: local folder or file of each named input, by name.
        hashes: hash of each named input, by name: of the other object's publication, or of the chosen file.
        answer: what a person chose, where the stage asks.
        state: durable state, of stages that keep some.
        ranks: which of several processes this is.
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
        """Local path of an upstream file or folder; KeyError names what is missing or was not declared."""
        found = self._found(stage, output)
        if isinstance(found, Path):
            return found
        raise KeyError(f"{stage}/{output} is {len(found)} numbered files: use `paths`")

    def paths(self, stage: str, output: str) -> tuple[Path, ...]:
        """Local paths of numbered upstream files, in order; KeyError as of :meth:`path`."""
        found = self._found(stage, output)
        return (found,) if isinstance(found, Path) else found

    def find(self, stage: str, output: str) -> Path | None:
        """Local path of an optional upstream output, or None."""
        return self.path(stage, output) if (stage, output) in self.files else None

    def members(self, stage: str) -> Sequence[Member]:
        """The siblings or children whose outputs of a stage are read; KeyError when none are declared."""
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
    """An image output as values. The worker checks them and writes the PNG while the next sample runs.

    One object may serve several outputs: it is encoded once.

    Attributes:
        values: numpy uint8 array, (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA, sRGB; must not change afterwards.
        png: a PNG file from which exactly these values were read, which then need not be encoded again.
    """

    values: Any
    png: bytes | None = None


Made = Path | Pixels | Sequence[Path | Pixels]
"""An output as a stage hands it over."""


@dataclass(frozen=True)
class StageResult:
    """What a stage made of one sample.

    Attributes:
        outputs: by the output's declared name a local path in the workspace, pixels, a sequence of either for numbered
            files, or the path of a folder.
        metrics: numbers and short facts for the record and the report; deterministic ones only.
        warnings: sentences that the user must see although the sample is done.
        backends: who served each capability.
        gpu_seconds: time during which the sample held a GPU.
    """

    outputs: Mapping[str, Made]
    metrics: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    backends: Sequence[BackendUse] = ()
    gpu_seconds: float = 0.0


class Stage(ABC, Generic[ParamsT]):
    """Base class of all stages. The constructor loads models once; `process` runs for one sample at a time.

    `process` raises SampleError for a sample that cannot be made and ConfigurationError for a mistake that holds for
    every sample. Any other exception is recorded as a failure of the sample with its class name.
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
        """Called once after CUDA ran out of memory; True when the stage can retry at a smaller setting."""
        return False

    def close(self) -> None:
        """Releases models."""


@dataclass(frozen=True)
class SampleOutcome:
    """Everything publish knows of one sample: its latest record of every stage and where its files are.

    Attributes:
        sample: the sample.
        records: latest record by stage name.
        files: ``(stage, output)`` -> a function that fetches the file or folder and returns where it lies.
        numbered: the same for outputs of numbered files.
        children: the same of the samples that were expanded from it and gathered again.
    """

    sample: Sample
    records: Mapping[str, Record]
    files: Mapping[tuple[str, str], Callable[[], Path]]
    numbered: Mapping[tuple[str, str], Callable[[], tuple[Path, ...]]] = field(default_factory=dict)
    children: Sequence[SampleOutcome] = ()


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
class Dropped:
    """A sample that did not make it into the publication: in which stage, and why."""

    sample: Sample
    stage: str
    reason: str
    message: str


@dataclass(frozen=True)
class Dated:
    """Content of an index file that holds times: two runs of the same work differ in it."""

    content: bytes


@dataclass(frozen=True)
class Catalogue:
    """What a publication holds, for the index files that loaders of data sets read.

    Attributes:
        name: of the job.
        entries: the samples that are done, in order.
        job: the effective spec as in ``job.json``.
        dropped: the samples that are not done, and why.
        read: content of a published or intermediate file of an entry's records, by path.
        at: seconds since the epoch when it is published.
        seconds: that all samples took in all stages, added up; those of results that are kept included.
    """

    name: str
    entries: Sequence[CatalogueEntry]
    job: Mapping[str, Any]
    dropped: Sequence[Dropped] = ()
    read: Callable[[str], bytes] = lambda path: b""
    at: float = 0.0
    seconds: float = 0.0


class Reporter(ABC):
    """Makes the pipeline's own part of the result that publish writes."""

    @abstractmethod
    def sample_page(self, outcome: SampleOutcome, job: Mapping[str, Any]) -> str:
        """Self-contained HTML page of one sample; `job` is the effective spec as in ``job.json``."""

    @abstractmethod
    def index_page(self, outcomes: Sequence[SampleOutcome], job: Mapping[str, Any]) -> str:
        """Self-contained HTML page over several samples; links to ``<sample>/report.html``."""
