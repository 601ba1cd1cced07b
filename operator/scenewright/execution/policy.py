"""What an exit code of a stage process means: the local twin of the cluster's Pod failure policy."""

from __future__ import annotations

import signal
from typing import Literal

from scenewright.planning.plan import Plan
from scenewright_stages.contract.errors import ExitCode

Verdict = Literal["done", "retry", "lost", "fail"]

COMMAND_OK = 0
COMMAND_SAMPLES_FAILED = 1
COMMAND_AWAITING = 3
COMMAND_REFUSED = 10
COMMAND_INTERRUPTED = 130


RESTARTS_WITH_STATE = 100


def restarts_of(plan: Plan, step: str) -> int:
    """How often the process of a shard is started again after it died.

    A stage that keeps state may lose a process every few hours for weeks. What bounds it is the worker, which counts
    only the deaths since the last saved state; the limit here is for processes that die before any of our code runs.
    """
    given = plan.spec.execution.retries.per_shard
    keeps_state = any(stage.keeps_state for stage in plan.chain if stage.name == step)
    return max(given, RESTARTS_WITH_STATE) if keeps_state else given


def verdict(code: int, attempt: int, retries_per_shard: int) -> Verdict:
    """What happens after a shard's process has ended.

    Args:
        code: exit code, negative for a signal.
        attempt: how many processes this shard has had, from 1.
        retries_per_shard: how often it may be started again.

    Returns:
        ``done``, ``fail`` (the run ends), ``lost`` (the shard is given up, the chain goes on) or ``retry``.
    """
    if code == ExitCode.COMPLETE:
        return "done"
    if code in (ExitCode.CONFIGURATION, ExitCode.SAMPLE_FAILED):
        return "fail"
    if code == ExitCode.SHARD_LOST or attempt > retries_per_shard:
        return "lost"
    return "retry"


def explanation(code: int) -> str:
    """An exit code in words."""
    if code < 0 or 128 < code < 160:
        number = -code if code < 0 else code - 128
        try:
            return f"killed by {signal.Signals(number).name}"
        except ValueError:
            return f"killed by signal {number}"
    names = {ExitCode.SHARD_LOST: "the shard cannot go on", ExitCode.SAMPLE_TIMEOUT: "a sample took too long"}
    return names.get(ExitCode(code), f"exit code {code}") if code in list(ExitCode) else f"exit code {code}"
