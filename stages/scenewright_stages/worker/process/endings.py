"""How a worker process ends: maps everything that can stop it to exit code, reason and message."""

# Class names describe the situation and do not end in Error.
# ruff: noqa: N818

from __future__ import annotations

from dataclasses import dataclass

from scenewright_stages.contract.errors import (
    ConfigurationError,
    ExitCode,
    OutputInUse,
    ScenewrightError,
    ShardError,
    StorageFault,
)
from scenewright_stages.contract.faults import PackageMissing, is_program_fault, missing_package, place_of
from scenewright_stages.contract.reports import OUTPUT_IN_USE, PACKAGE_MISSING, PROGRAM_FAULT
from scenewright_stages.store import StoreError

UNEXPECTED = 1


class SampleFailed(ScenewrightError):
    """A sample failed under ``onSampleError: Fail``."""


class TooManyFailures(ScenewrightError):
    """More samples failed than ``maxFailedSamples`` allows."""


class SampleTimeout(ScenewrightError):
    """The watchdog ended the running sample and recorded its failure."""


class ProcessLost(ScenewrightError):
    """Another rank of the same sample died: counts as a crash of that sample."""


class Terminated(ScenewrightError):
    """A signal or the parent's death ended the process before its work was done."""


_ENDINGS: tuple[tuple[type[BaseException], int, str], ...] = (
    (PackageMissing, ExitCode.CONFIGURATION, PACKAGE_MISSING),
    (OutputInUse, ExitCode.CONFIGURATION, OUTPUT_IN_USE),
    (ConfigurationError, ExitCode.CONFIGURATION, "ConfigurationError"),
    (TooManyFailures, ExitCode.CONFIGURATION, "TooManyFailures"),
    (SampleFailed, ExitCode.SAMPLE_FAILED, "SampleFailed"),
    (SampleTimeout, ExitCode.SAMPLE_TIMEOUT, "Timeout"),
    (Terminated, ExitCode.TERMINATED, "Terminated"),
    (ShardError, ExitCode.SHARD_LOST, "ShardLost"),
    (StorageFault, ExitCode.STORAGE_FAULT, "StorageFault"),
    (StoreError, ExitCode.STORAGE_FAULT, "StorageFault"),
)


@dataclass(frozen=True)
class Ending:
    """How the process reports its end."""

    code: int
    reason: str
    message: str


def ending_for(problem: BaseException) -> Ending:
    """Maps a problem to its ending."""
    for kind, code, reason in _ENDINGS:
        if isinstance(problem, kind):
            return Ending(code, reason, str(problem))
    if is_program_fault(problem):
        place = f" ({where})" if (where := place_of(problem)) else ""
        message = f"{type(problem).__name__}: {problem}{place}: a mistake in the code, which trying again does not mend"
        return Ending(ExitCode.CONFIGURATION, PROGRAM_FAULT, message)
    return Ending(UNEXPECTED, type(problem).__name__, str(problem))


def explained(problem: BaseException, step: str) -> BaseException:
    """The problem; of a missing package, the error that says what to install."""
    lacking = missing_package(problem)
    if lacking is None or isinstance(problem, ScenewrightError):
        return problem
    return PackageMissing(step, lacking)


def exceeds(limit: str | int | None, failed: int, total: int) -> bool:
    """Whether more samples failed than allowed: a number, or a percentage of the shard's samples such as ``20%``.

    Raises:
        ConfigurationError: the limit is invalid.
    """
    if limit is None or failed == 0:
        return False
    text = str(limit).strip()
    number = text.removesuffix("%")
    if not number.isdigit():
        raise ConfigurationError("spec.execution.maxFailedSamples", limit, "a number, or a percentage such as 20%")
    allowed = int(number) * total / 100 if text.endswith("%") else int(number)
    return failed > allowed
