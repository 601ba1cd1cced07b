"""``scenewright run`` and, for a manifest, ``scenewright retry``."""

from __future__ import annotations

import getpass
import os
import secrets
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from scenewright.cli.board import Board
from scenewright.cli.manifests import Changes, input_choices, load_plans, reference_to
from scenewright.cli.results import outcome_json
from scenewright.cli.texts import print_json, print_problems, refusing
from scenewright.execution.devices import available_cpus, thread_environment
from scenewright.execution.events import Outcome
from scenewright.execution.local import LocalRun
from scenewright.execution.outcomes import COMMAND_INTERRUPTED, COMMAND_SAMPLES_FAILED
from scenewright.execution.published import last_retry_token
from scenewright.planning.inputs import ObjectReference, ResolvedInput
from scenewright.planning.plan import Plan
from scenewright.planning.tasks import RunSettings
from scenewright_stages.backends.runtime.cache.weights import default_cache_dir


@refusing
def run_command(
    files: Sequence[Path],
    changes: Changes,
    *,
    as_json: bool,
    retry_failed: bool = False,
    force: bool = False,
    rerun: bool = False,
    processes_per_gpu: int = 1,
) -> int:
    """Runs all documents of the files, each after its dependencies; returns the highest exit code.

    With `rerun` a viewer shows the scenes while they grow.
    """
    if not as_json:
        for line in filter(None, (input_choices(file, changes) for file in files)):
            print(line, flush=True)
    if not rerun:
        return _run_all(load_plans(files, changes), as_json, retry_failed, force, processes_per_gpu)
    from scenewright.cli.viewer import showing, viewer_here

    viewer = viewer_here()
    plans = load_plans(files, replace(changes, live_viewer=viewer.address))
    with showing(viewer) as wait:
        code = _run_all(plans, as_json, retry_failed, force, processes_per_gpu)
        if code != COMMAND_INTERRUPTED and not as_json and sys.stdout.isatty():
            wait()
        return code


def _run_all(plans: Sequence[Plan], as_json: bool, retry_failed: bool, force: bool, processes_per_gpu: int) -> int:
    ended: dict[ObjectReference, tuple[Plan, str, Outcome]] = {}
    for given in plans:
        plan = given
        token = plan.spec.execution.retry_token
        is_new = bool(token) and last_retry_token(plan.spec.output.uri) not in (None, token)
        settings = run_settings(plan, retry_failed or is_new, force, processes_per_gpu)
        try:
            plan = given.with_resolved(resolved_inputs(given, ended))
            outcome = _run_one(plan, settings, as_json)
        except DependencyNotReady as problem:
            outcome = Outcome(COMMAND_SAMPLES_FAILED, "DependencyFailed", str(problem))
            if not as_json:
                sys.stderr.write(f"error: {plan.name}: {problem}\n")
        ended[reference_to(plan)] = (plan, settings.run, outcome)
        if outcome.exit_code == COMMAND_INTERRUPTED:
            break
    code = max(outcome.exit_code for _, _, outcome in ended.values())
    if as_json:
        print_json({"exitCode": code, "jobs": [outcome_json(*each) for each in ended.values()]})
    return code


class DependencyNotReady(Exception):  # noqa: N818 - names a state
    """A dependency has no usable result."""


def resolved_inputs(plan: Plan, ended: Mapping[ObjectReference, tuple[Plan, str, Outcome]]) -> dict[str, ResolvedInput]:
    """Resolves the inputs that come from objects of this command.

    Raises:
        DependencyNotReady: one of them has no usable result, or lacks the wanted file.
    """
    found: dict[str, ResolvedInput] = {}
    for wanted in plan.inputs:
        if not wanted.kind:
            continue
        name = ObjectReference(wanted.kind, wanted.object)
        other, _, outcome = ended[name]
        report = outcome.report
        if report is None or not report.publication or outcome.reason not in ("Complete", "SamplesFailed"):
            raise DependencyNotReady(f"{name} ended as {outcome.reason}: nothing of it can be used")
        try:
            found[wanted.name] = ResolvedInput.of(wanted, other.spec.output.uri, report.publication, report.chosen)
        except KeyError:
            offered = ", ".join(sorted(report.chosen)) or "none"
            raise DependencyNotReady(f"{name} offers no {wanted.chosen!r}; it offers: {offered}") from None
    return found


def run_settings(
    plan: Plan, retry_failed: bool = False, force: bool = False, processes_per_gpu: int = 1
) -> RunSettings:
    """Settings with a new run id, since crashes are counted per run."""
    started = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return RunSettings(
        run=f"{started}-{plan.work_hash[:8]}-{secrets.token_hex(2)}",
        holder=f"{user}@{socket.gethostname()}:{os.getpid()}",
        model_cache=str(default_cache_dir()),
        retry_failed=retry_failed,
        force=force,
        processes_per_gpu=processes_per_gpu,
        facts={"threads": thread_environment(os.environ, available_cpus())},
    )


def _run_one(plan: Plan, settings: RunSettings, as_json: bool) -> Outcome:
    if as_json:
        return LocalRun(plan, settings, lambda event: None, os.environ).run()
    if sys.stdout.isatty():
        return _run_live(plan, settings)
    from scenewright.cli.plain import PlainProgress
    from scenewright.cli.results import print_plain_summary

    with PlainProgress(Board.of(plan), sys.stdout) as shown:
        outcome = LocalRun(plan, settings, shown.show, os.environ).run()
    print_problems(outcome.problems)
    print_plain_summary(plan, outcome, settings.retry_failed)
    return outcome


def _run_live(plan: Plan, settings: RunSettings) -> Outcome:
    from rich.console import Console

    from scenewright.cli.live import LiveProgress
    from scenewright.cli.results import print_rich_summary

    console = Console(highlight=False)
    with LiveProgress(Board.of(plan), console) as shown:
        outcome = LocalRun(plan, settings, shown.show, os.environ).run()
    print_problems(outcome.problems)
    if outcome.exit_code == COMMAND_INTERRUPTED:
        console.print(outcome.message)
    elif not outcome.problems:
        print_rich_summary(plan, outcome, settings.retry_failed, console)
    return outcome
