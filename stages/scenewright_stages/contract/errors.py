"""Errors that users see, and the exit codes by which a stage process reports them.

Every error names the field, the value and the remedy. The Pod failure policy and the local executor read the exit
codes; `worker/process/endings.py` maps errors to codes.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of a stage process. Any other code counts as a failure of the shard's index."""

    COMPLETE = 0
    """Every sample of the shard's worklist has a record."""
    CONFIGURATION = 10
    """A configuration error that holds for every shard: the Job fails."""
    SAMPLE_FAILED = 20
    """A sample failed under ``onSampleError: Fail``: the Job fails."""
    SHARD_LOST = 21
    """This shard cannot go on: its index fails."""
    SAMPLE_TIMEOUT = 30
    """The watchdog ended a sample that exceeded ``sampleTimeoutSeconds``; counts per index."""
    STORAGE_FAULT = 31
    """The storage failed: the shard is tried again, after pauses that grow; counts per index."""
    TERMINATED = 143
    """SIGTERM: left within the grace period, never 0."""


class ScenewrightError(Exception):
    """Base class of the errors that are shown to the user without a traceback."""


class ConfigurationError(ScenewrightError):
    """A mistake that holds for every shard (parameter, licence, missing model): exit code 10.

    Args:
        field: path of the field in the manifest, such as ``spec.vistadream.depth.backend``.
        value: what was given.
        remedy: what is allowed, or what to do.
    """

    def __init__(self, field: str, value: object, remedy: str) -> None:
        self.field = field
        self.value = value
        self.remedy = remedy
        super().__init__(f"{field}: {value!r}: {remedy}")


class OutputInUse(ConfigurationError):  # noqa: N818 - names a state
    """Another live process holds the output's lock: exit code 10; a cluster retries.

    Args:
        uri: of the output.
        remedy: who holds it, and what to do.
        until: seconds since the epoch at which the lock expires, unless its holder renews it.
    """

    def __init__(self, uri: str, remedy: str, until: float) -> None:
        super().__init__("spec.output.uri", uri, remedy)
        self.until = until


class SampleError(ScenewrightError):
    """One sample failed; the shard continues.

    Args:
        reason: CamelCase class of the failure, such as ``ImageTruncated``; it is counted and shown in the status.
        message: what happened and what to do about it.
    """

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        self.message = message
        super().__init__(f"{reason}: {message}")


class SampleRejected(SampleError):  # noqa: N818 - not an error of anybody
    """The sample is valid but has nothing for the pipeline (no person in the picture): neither done nor failed."""


class ContractError(SampleError):
    """An output of a stage does not meet its declared contract."""

    def __init__(self, message: str) -> None:
        super().__init__("ContractNotMet", message)


class ShardError(ScenewrightError):
    """This shard cannot continue, others may: exit code 21."""


class StorageFault(ScenewrightError):  # noqa: N818 - names a state
    """The storage failed in a way that another attempt may not see: exit code 31."""


class Abandoned(BaseException):
    """Raised inside a running sample when the process must end.

    The worker raises it from a progress call; a stage that keeps state raises it after saving. It derives from
    BaseException so that a stage's error handling cannot swallow it.
    """
