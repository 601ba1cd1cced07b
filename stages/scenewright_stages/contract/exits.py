"""Exit codes of a stage process, as the Pod failure policy reads them (design document, section 5)."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Anything that is not named here counts as a failure of the shard's index."""

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
    TERMINATED = 143
    """SIGTERM: left within the grace period, never 0."""
