"""Reads what the status remembers from earlier decisions, and resets it when the work hash changes.

Besides the Jobs, the status is the operator's only memory: run, pass, counts and retry tokens survive a restart in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from scenewright.api.status import ENDS, Effective, InputStatus, Outputs, Status, Writing
from scenewright.execution.jobs import output_place
from scenewright.planning.inputs import ResolvedInput
from scenewright.planning.lab import to_status
from scenewright.planning.plan import Plan
from scenewright.reconcile.cache.observation import Dependency
from scenewright_stages.contract.keys import short_hash

REMEMBERED_TOKENS = 10


def remembered(before: Status, plan: Plan) -> Status:
    """The status for the planned work: the previous one, or a fresh one if the work hash has changed."""
    was_only_planned = before.plan_only and before.phase == "Complete" and not plan.spec.execution.plan_only
    if before.effective.work_hash == plan.work_hash and not was_only_planned:
        return before if before.run else before.model_copy(update={"effective": _effective(plan)})
    token = plan.spec.execution.retry_token
    tokens = [each for each in before.retry_tokens if each != token]
    is_new = bool(token) and token not in before.retry_tokens
    return Status(
        pipeline=plan.pipeline.name,
        effective=_effective(plan),
        starts=before.starts,
        conditions=before.conditions,
        outputs=before.outputs if before.outputs.results.startswith(plan.spec.output.uri) else Outputs(),
        # Jobs of the earlier work may still write there.
        writing=before.writing,
        retry_tokens=[*tokens, token][-REMEMBERED_TOKENS:] if token else before.retry_tokens,
        # Also of work that replaces unfinished work with a new token.
        retry_failed=is_new or (before.retry_failed and (before.phase not in ENDS or before.plan_only)),
    )


def _effective(plan: Plan) -> Effective:
    return Effective(
        work_hash=plan.work_hash,
        parameters_hash=parameters_hash(plan),
        defaults=to_status(plan.lab),
    )


def writing_of(plan: Plan) -> Writing:
    """Where a run of this plan writes; nowhere if it only counts."""
    if plan.spec.execution.plan_only:
        return Writing()
    place = output_place(plan.namespace, plan.spec.storage.secret_name, plan.spec.output.uri)
    return Writing(place=place, hosts=list(plan.pipeline.hosts))


def parameters_hash(plan: Plan) -> str:
    return short_hash(plan.parameters.model_dump(mode="json", by_alias=True, exclude_defaults=True))


def run_id(uid: str, work_hash: str, start: int, inputs: Iterable[InputStatus] = ()) -> str:
    """Id of a run: a hash of object, work and inputs from other objects, and the number of this start.

    Without inputs from other objects, the hash is the one in the names of the run's Jobs.
    """
    parts = [uid, work_hash, *(f"{each.name}={each.hash}" for each in inputs)]
    digest = hashlib.blake2b("\0".join(parts).encode(), digest_size=4).hexdigest()
    return f"{digest}-{start}"


def current_inputs(dependencies: Iterable[Dependency]) -> list[InputStatus]:
    """The named inputs of a run that starts now."""
    return [
        InputStatus(name=each.input, object=f"{each.key.kind}/{each.key.name}", **each.published.to_json())
        for each in dependencies
        if each.published is not None
    ]


def with_inputs(plan: Plan, status: Status) -> Plan:
    """The plan with the named inputs as they were when the run started."""
    return plan.with_resolved({each.name: ResolvedInput(each.uri, each.hash, each.path) for each in status.inputs})
