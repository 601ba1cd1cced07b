"""What the user should know although nothing has failed: the Warning condition."""

from __future__ import annotations

from scenewright.planning.plan import Plan
from scenewright.reconcile.actions import Inspect
from scenewright.reconcile.decide.over import refuses_expiry
from scenewright.reconcile.decide.turns import ENDS, Situation, condition_of
from scenewright.reconcile.observation import Inspection

EXPIRY_REFUSED = "ExpiryRefused"
CACHE_NOT_SHARED = "ModelCacheNotShared"
DEPENDENCY_CHANGED = "DependencyChanged"


def cautions(situation: Situation, plan: Plan) -> tuple[tuple[str, str] | None, list[Inspect]]:
    """Reason and message of the warning, and what has to be asked to know it."""
    expiry = refuses_expiry(situation.observed.object)
    unshared, asks = _unshared_cache(situation, plan)
    found = {
        DEPENDENCY_CHANGED: _changed_inputs(situation),
        EXPIRY_REFUSED: expiry,
        CACHE_NOT_SHARED: unshared,
    }
    told = {reason: text for reason, text in found.items() if text}
    return ((next(iter(told)), "; ".join(told.values())) if told else None), asks


def _changed_inputs(situation: Situation) -> str:
    """What other objects have published since the run started: nothing starts for it by itself."""
    now = {each.input: each.published for each in situation.observed.dependencies}
    changed = [
        each.object
        for each in situation.before.inputs
        if (latest := now.get(each.name)) is not None and latest.hash != each.hash
    ]
    if not changed:
        return ""
    return f"{', '.join(changed)} has published something else since this run started; a retry takes it in"


def _unshared_cache(situation: Situation, plan: Plan) -> tuple[str, list[Inspect]]:
    """A claim that one node at a time can mount keeps all Pods on that node."""
    claim = plan.spec.models.cache_claim
    if not claim or plan.spec.execution.max_parallelism == 1:
        return "", []
    text = (
        f"the claim {claim} can be mounted by one node at a time: the Pods of a stage share that node; "
        "use a ReadWriteMany or ReadOnlyMany claim, or maxParallelism 1"
    )
    inspection = Inspection("cache-claim", claim)
    answer = situation.observed.answers.get(inspection)
    if answer is not None:
        return (text if answer.holds is False else ""), []
    before = condition_of(situation.before.conditions, "Warning")
    was_so = before is not None and before.status == "True" and text in before.message
    is_over = situation.before.phase in ENDS
    return (text if was_so else ""), ([] if was_so or is_over else [Inspect(inspection)])
