"""``scenewright pick`` and ``scenewright retry``: continue an object that waits for a choice or has failed.

``pick`` lists the samples that wait for a choice, and stores choices. Both set a new retry token in an annotation of an
object in a cluster, so that its spec stays as it is in Git.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from scenewright.api.names import RETRY_ANNOTATION
from scenewright.api.raw import RawJson
from scenewright.api.status import read_status
from scenewright.cli.cluster.access import Place, connect, is_reference, parse
from scenewright.cli.cluster.reading import storage_environment
from scenewright.cli.commands.run import run_settings
from scenewright.cli.manifests import Changes, load_plans, reference_to
from scenewright.cli.texts import count, place, print_json, print_problems, refusing
from scenewright.execution.local import LocalRun
from scenewright.execution.published import resolved_from
from scenewright.planning.inputs import ObjectReference
from scenewright.planning.lab import in_status
from scenewright.planning.plan import Plan, make_plan
from scenewright.planning.problems import Problem, SpecError
from scenewright_stages.contract.task import TaskPick


@refusing
def retry_object(target: str, place: Place, *, as_json: bool) -> int:
    """Asks the operator to retry what failed; finished samples are kept."""
    token = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(2)}"
    reference, cluster = parse(target), connect(place)
    raw = cluster.annotate(reference, {RETRY_ANNOTATION: token})
    if as_json:
        print_json({"kind": reference.kind, "name": reference.name, "namespace": cluster.namespace, "token": token})
        return 0
    print(f"{reference}: what failed is tried again (token {token})")
    if raw.get("spec", {}).get("suspend"):
        print("it is suspended: nothing runs before spec.suspend is false")
    return 0


@refusing
def pick_command(
    target: str,
    sample: str,
    choices: Sequence[str],
    where: Place,
    *,
    use_secret: bool,
    as_json: bool,
    others: Sequence[Path] = (),
) -> int:
    """Stores the choices for a sample, or lists all open questions without one.

    Choices are ``question=option``, or options in the order of the questions. `others` are manifests of the objects
    that a manifest refers to.
    """
    plan, environment, finish = _target(target, where, use_secret, others)
    run = LocalRun(plan, run_settings(plan), lambda event: None, environment)
    outcome, questions = run.pick([])
    if not outcome.exit_code and sample:
        outcome, questions = run.pick([TaskPick(sample=sample, answer=_answer(sample, choices, questions))])
    if outcome.exit_code:
        print_problems(outcome.problems)
        return outcome.exit_code
    if as_json:
        print_json({"exitCode": 0, "questions": questions})
    else:
        _print(plan, questions, sample)
    if sample:
        # Standard output of a program's call holds one JSON document.
        with contextlib.redirect_stdout(sys.stderr if as_json else sys.stdout):
            finish()
    return 0


def _target(
    target: str, where: Place, use_secret: bool, others: Sequence[Path]
) -> tuple[Plan, Mapping[str, str], Callable[[], object]]:
    """The plan, the environment of its process, and a function to call once a choice is stored."""
    if not is_reference(target):
        plan = _local_plan(Path(target), others)
        again = f"`scenewright run {target}` continues with it"
        return plan, os.environ, lambda: print(again)
    from scenewright.reconcile.decide.memory import with_inputs

    cluster, reference = connect(where), parse(target)
    raw = cluster.get(reference)
    document = {name: raw[name] for name in ("apiVersion", "kind", "spec")}
    status = read_status(raw.get("status") or {})
    document["metadata"] = {"name": raw["metadata"]["name"]}
    plan = with_inputs(make_plan(document, defaults=in_status(status)), status)
    environment = storage_environment(cluster, raw, use_secret)
    return plan, environment, lambda: retry_object(target, where, as_json=False)


def _local_plan(file: Path, others: Sequence[Path]) -> Plan:
    """The plan of a manifest, with the publications of the objects that it refers to."""
    (plan, *more) = load_plans([file], Changes(), complete=False)
    if more:
        raise SpecError([Problem("FILE", str(file), "holds several objects; name a file with one")])
    known = load_plans(others, Changes(), complete=False)
    resolved = resolved_from(plan, {reference_to(other): other.spec.output.uri for other in known})
    if isinstance(resolved, ObjectReference):
        remedy = "is referred to and has published nothing here; name its manifest with --with"
        raise SpecError([Problem("FILE", str(resolved), remedy)])
    return plan.with_resolved(resolved)


def _answer(sample: str, choices: Sequence[str], questions: Sequence[RawJson]) -> dict[str, str]:
    """Parses the choices of the command line; a choice without ``question=`` answers the question at its position."""
    asked = next((each for each in questions if each["sample"] == sample), None)
    if asked is None:
        waiting = ", ".join(each["sample"] for each in questions) or "none"
        raise SpecError([Problem("SAMPLE", sample, f"does not wait for a choice; waiting: {waiting}")])
    names = list(asked["options"])
    answer: dict[str, str] = {}
    for position, choice in enumerate(choices):
        name, mark, option = choice.partition("=")
        if not mark and position >= len(names):
            raise SpecError([Problem("CHOICE", choice, f"is one too many; asked are: {', '.join(names)}")])
        answer.update({name: option} if mark else {names[position]: choice})
    return answer


def _print(plan: Plan, questions: Sequence[RawJson], answered: str) -> None:
    if answered:
        print(f"{answered}: stored")
    if not questions:
        print(f"{plan.name}: no sample waits for a choice")
        return
    wait = "waits" if len(questions) == 1 else "wait"
    sys.stdout.write(f"{plan.name}: {count(len(questions), 'sample')} {wait} for a choice\n")
    for each in questions:
        print(f"\n{each['sample']}: {each['text']}")
        for name, options in each["options"].items():
            print(f"  {name}: {', '.join(options)}")
        for name, uri in each["candidates"].items():
            print(f"  {name}: {place(uri)}")
