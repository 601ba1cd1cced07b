"""Errors with the three things a user needs: which field, which value, what to do."""

from __future__ import annotations


class ScenewrightError(Exception):
    """Base class of the errors that are told to the user without a traceback."""


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


class OutputInUse(ConfigurationError):  # noqa: N818 - names what is the case
    """Another living holder has the output's lock: exit code 10, and a cluster tries again.

    Args:
        uri: of the output.
        remedy: who has it, and what to do.
        until: seconds since the epoch at which the lock ends, unless its holder renews it.
    """

    def __init__(self, uri: str, remedy: str, until: float) -> None:
        super().__init__("spec.output.uri", uri, remedy)
        self.until = until


class SampleError(ScenewrightError):
    """One sample cannot be made; the shard goes on.

    Args:
        reason: CamelCase class of the failure, such as ``ImageTruncated``; it is counted and shown in status.
        message: what happened and what to do about it.
    """

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        self.message = message
        super().__init__(f"{reason}: {message}")


class SampleRejected(SampleError):  # noqa: N818 - no error of anybody
    """The sample is sound but holds nothing for the pipeline (no person in the picture): neither done nor a failure."""


class ContractError(SampleError):
    """An output of a stage does not meet its declared contract."""

    def __init__(self, message: str) -> None:
        super().__init__("ContractNotMet", message)


class ShardError(ScenewrightError):
    """This shard cannot go on, others may: exit code 21."""
