"""How many samples one Pod works on: enough to amortise loading a model, few enough to lose little."""

from __future__ import annotations

import math

MAXIMUM_SHARDS = 10_000
TARGET_SECONDS = 900.0
"""Middle of the 10 to 20 minutes that one shard is meant to take."""


def samples_per_shard(samples: int, seconds_per_sample: float, requested: int | None) -> int:
    """Samples of one shard: what the spec asks for, else about 15 minutes' worth; at most 10,000 shards come of it.

    Args:
        samples: how many samples the stage has to run, at least 0.
        seconds_per_sample: rough duration of one of them.
        requested: ``execution.samplesPerShard``.
    """
    wanted = requested or max(1, round(TARGET_SECONDS / max(seconds_per_sample, 1e-3)))
    return max(wanted, math.ceil(samples / MAXIMUM_SHARDS), 1)


def shard_count(samples: int, seconds_per_sample: float, requested: int | None) -> int:
    """Shards of a stage with that many samples to run; none without samples."""
    return math.ceil(samples / samples_per_shard(samples, seconds_per_sample, requested))
