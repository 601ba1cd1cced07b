"""Events of a local run, for the code that displays it, and the run's outcome."""

from __future__ import annotations

from dataclasses import dataclass, field

from scenewright.api.raw import Json
from scenewright.planning.problems import Problem
from scenewright_stages.contract.reports import Report, StageCounts


@dataclass(frozen=True)
class StepStarted:
    """A step (index, a stage's shard, publish) started; `attempt` counts from 1."""

    step: str
    shard: int = 0
    shards: int = 1
    attempt: int = 1


@dataclass(frozen=True)
class Progress:
    """Counters of a running step from its progress file: samples of the shard's worklist, and the current sample.

    `sample` is empty between samples, and `fraction` is the progress of the current one, 0 to 1.
    """

    step: str
    phase: str = ""
    done: int = 0
    failed: int = 0
    skipped: int = 0
    total: int = 0
    sample: str = ""
    fraction: float = 0.0
    message: str = ""
    samples_per_minute: float = 0.0
    shard: int = 0
    numbers: dict[str, float] = field(default_factory=dict)

    @classmethod
    def from_json(cls, data: Json) -> Progress:
        samples, current = data.get("samples") or {}, data.get("current") or {}
        return cls(
            step=data["step"],
            phase=data.get("phase", ""),
            done=samples.get("done", 0),
            failed=samples.get("failed", 0),
            skipped=samples.get("skipped", 0),
            total=samples.get("total", 0),
            sample=current.get("sample", ""),
            fraction=current.get("fraction", 0.0),
            message=current.get("message", ""),
            samples_per_minute=data.get("samplesPerMinute", 0.0),
            shard=data.get("shard", 0),
            numbers=data.get("numbers") or {},
        )


@dataclass(frozen=True)
class StepFinished:
    """A step of one shard ended with exit code `code`; `counts` is None if it left no report."""

    step: str
    seconds: float
    code: int
    shard: int = 0
    shards: int = 1
    counts: StageCounts | None = None


@dataclass(frozen=True)
class StepUpToDate:
    """No sample of this stage had to run."""

    step: str
    counts: StageCounts


@dataclass(frozen=True)
class Indexed:
    """The index is complete: it counted the samples of each stage."""

    report: Report


@dataclass(frozen=True)
class Retried:
    """A process ended early and is restarted, or given up if `attempts_left` is 0."""

    step: str
    shard: int
    code: int
    reason: str
    attempts_left: int


@dataclass(frozen=True)
class PassStarted:
    """Samples are missing, so another pass over the chain starts."""

    number: int
    missing: int


@dataclass(frozen=True)
class Interrupted:
    """A signal arrived; the running processes were asked to end within the grace period."""

    grace_seconds: float


Event = StepStarted | Progress | StepFinished | StepUpToDate | Indexed | Retried | PassStarted | Interrupted


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        exit_code: of the command line (0 done, 1 samples failed, 3 waits for a choice, 10 refused, 130 interrupted).
        reason, message: CamelCase word, ``Complete`` on success, and a sentence for the user, empty on success.
        problems: why the spec was refused.
        report: of publish, or of the step that ended the run.
        seconds, step_seconds: wall-clock time of the run, and by step.
    """

    exit_code: int
    reason: str = "Complete"
    message: str = ""
    problems: tuple[Problem, ...] = ()
    report: Report | None = None
    seconds: float = 0.0
    step_seconds: dict[str, float] = field(default_factory=dict)
