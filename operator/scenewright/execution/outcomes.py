"""Pure functions for the outcome of a process, by its exit code, and of a run, by its reports.

Exit codes mean the same here as in the Pod failure policy of the cluster's Jobs.
"""

from __future__ import annotations

import ast
import signal
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from scenewright.execution.events import Outcome
from scenewright.planning.backends import weights_problems
from scenewright.planning.plan import Plan
from scenewright.planning.problems import ABSENT, Problem
from scenewright.planning.protocol import end_of_run
from scenewright_stages.contract.errors import ExitCode
from scenewright_stages.contract.reports import AWAITING, PROGRAM_FAULT, Report, StageCounts

Verdict = Literal["done", "retry", "lost", "fail"]

COMMAND_OK = 0
COMMAND_SAMPLES_FAILED = 1
COMMAND_AWAITING = 3
COMMAND_REFUSED = 10
COMMAND_INTERRUPTED = 130
INTERRUPTED = Outcome(COMMAND_INTERRUPTED, "Interrupted", "interrupted; run the same command to continue")
NOT_THE_INPUTS_FAULT = frozenset(
    {"Crashed", "Timeout", "CudaOutOfMemory", "OutOfMemory", "MemoryError", "ContractNotMet", "ShardLost"}
)
"""Failure reasons that do not mean that the input is unreadable."""


def verdict(code: int, attempt: int, retries_per_shard: int) -> Verdict:
    """What to do after the `attempt`-th process of a shard, from 1, has ended with `code`, negative for a signal.

    ``fail`` ends the run. ``lost`` gives the shard up, and the chain continues.
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
    names = {
        ExitCode.SHARD_LOST: "the shard cannot continue",
        ExitCode.SAMPLE_TIMEOUT: "a sample took too long",
        ExitCode.STORAGE_FAULT: "the storage failed",
    }
    return names.get(ExitCode(code), f"exit code {code}") if code in list(ExitCode) else f"exit code {code}"


def of_publication(plan: Plan, report: Report) -> Outcome:
    """The outcome of a run that completed publish; see `end_of_run`."""
    end = end_of_run(report)
    if end.reason == "SamplesMissing":
        message = f"{end.message} after all passes; the logs say why their processes ended"
        return Outcome(COMMAND_SAMPLES_FAILED, end.reason, message, report=report)
    if end.reason == AWAITING:
        waits = f"{end.message} for a choice: `scenewright pick` shows and answers them"
        return Outcome(COMMAND_AWAITING, AWAITING, waits, report=report)
    if _no_sample_readable(plan, report):
        first = report.failures[0]
        message = f"no sample could be read; {first.sample}: {first.message or first.reason}"
        problem = Problem("spec.input.uri", plan.input_uri, message)
        return Outcome(COMMAND_REFUSED, "NothingReadable", message, (problem,), report)
    if end.reason != "Complete":
        return Outcome(COMMAND_SAMPLES_FAILED, end.reason, end.message, report=report)
    return Outcome(COMMAND_OK, report=report)


def given_up(outcome: Outcome, steps: Mapping[str, str]) -> Outcome:
    """The outcome of a run in which steps were given up for good: never a success, whatever else was right."""
    if outcome.exit_code != COMMAND_OK or not steps:
        return outcome
    told = "; ".join(f"{step} was given up: {why}" for step, why in steps.items())
    return replace(outcome, exit_code=COMMAND_SAMPLES_FAILED, reason="StepLost", message=told)


def failed(code: ExitCode, report: Report | None) -> Outcome:
    """The outcome of a run that a process ended with exit code 10 or 20."""
    reason = report.reason if report else code.name
    message = report.message if report else "the process ended without saying why; see its log"
    if code == ExitCode.SAMPLE_FAILED or reason in ("TooManyFailures", PROGRAM_FAULT):
        return Outcome(COMMAND_SAMPLES_FAILED, reason, message, report=report)
    given = report.outputs if report else {}
    problem = Problem(given.get("field", ""), _value(given.get("value")), given.get("remedy", message))
    return Outcome(COMMAND_REFUSED, reason, message, (problem,), report)


def _value(text: str | None) -> Any:
    """Parses a value that a process reported as text; anything that is not a Python literal stays text."""
    if text is None:
        return ABSENT
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def lost(step: str, why: str, log: str) -> Outcome:
    """The outcome of a run whose index or publish step failed."""
    text = f"the {step} step could not be done: {why}" + (f"\n{log}" if log else "")
    return Outcome(COMMAND_SAMPLES_FAILED, "StepLost", text)


def secret_missing(plan: Plan, environment: Mapping[str, str]) -> Outcome | None:
    """The outcome if the environment lacks variables that selected stages need, else None.

    In a cluster they come from Secrets; a local run has only its environment.
    """
    problems = tuple(
        Problem(stage.pod.secret.variable, ABSENT, f"set this environment variable: stage {stage.name} needs it")
        for stage in plan.chain
        if stage.name in plan.selected and stage.pod.secret and not environment.get(stage.pod.secret.variable)
    )
    return Outcome(COMMAND_REFUSED, "SecretMissing", str(problems[0]), problems) if problems else None


def weights_missing(plan: Plan, stages: Collection[str], cache_dir: Path) -> Outcome | None:
    """The outcome if the model cache lacks weights that the stages need, else None.

    In a cluster the models step copies them before any stage starts; a local run has only what is there.
    """
    accepted = plan.usable_licences
    problems = tuple(weights_problems(plan.chain, plan.parameters, stages, accepted, cache_dir))
    return Outcome(COMMAND_REFUSED, "WeightsMissing", str(problems[0]), problems) if problems else None


def _no_sample_readable(plan: Plan, report: Report) -> bool:
    """Whether the index rejected every sample, or the first stage failed it for a reason in the input."""
    first = report.stages.get(plan.chain[0].name, StageCounts())
    if not report.failures or first.done or first.skipped or first.not_selected:
        return False
    reasons = {failure.reason for failure in report.failures}
    return first.failed >= first.total and not reasons & NOT_THE_INPUTS_FAULT
