"""What a stage Pod pushes to the operator while it works: absolute counters, so that a lost push costs nothing."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from scenewright_stages.contract.params import Params

PROGRESS_URL_ENVIRONMENT = "SCENEWRIGHT_PROGRESS_URL"
PROGRESS_TOKEN_ENVIRONMENT = "SCENEWRIGHT_PROGRESS_TOKEN"
PROGRESS_PATH = "/v1/progress"
"""Of the endpoint; a URL that names only the host means it."""
MAXIMUM_PUSH_BYTES = 4096

_MAXIMUM_COUNT = 1_000_000_000


class PushedSamples(Params):
    """Samples of the shard's worklist that have ended, in whichever attempt."""

    total: int = Field(default=0, ge=0, le=_MAXIMUM_COUNT)
    done: int = Field(default=0, ge=0, le=_MAXIMUM_COUNT)
    failed: int = Field(default=0, ge=0, le=_MAXIMUM_COUNT)
    skipped: int = Field(default=0, ge=0, le=_MAXIMUM_COUNT)


class Push(Params):
    """Counters of one process since its start; fields of newer versions are ignored.

    Attributes:
        run, step, shard: what the process works on.
        phase: what it does now.
        samples: of the shard, those of earlier attempts included.
        ended_here: samples whose code ended in this process.
        busy_seconds: GPU time in which a sample's code ran (seconds times GPUs).
        waiting_seconds: GPU time in which none did: loading, waiting for inputs, storing the last outputs.
        load_seconds: how long the stage took to be ready for its first sample; 0 until then.
    """

    model_config = ConfigDict(extra="ignore")

    run: str = Field(max_length=64)
    step: str = Field(max_length=63)
    shard: int = Field(ge=0, le=_MAXIMUM_COUNT)
    phase: str = Field(default="", max_length=32)
    samples: PushedSamples = PushedSamples()
    ended_here: int = Field(default=0, ge=0, le=_MAXIMUM_COUNT)
    busy_seconds: float = Field(default=0.0, ge=0.0, le=1e9)
    waiting_seconds: float = Field(default=0.0, ge=0.0, le=1e9)
    load_seconds: float = Field(default=0.0, ge=0.0, le=1e9)
