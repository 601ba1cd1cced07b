"""What the user should know although nothing has failed: the Warning condition."""

from __future__ import annotations

from scenewright.planning.plan import Plan
from scenewright.reconcile.actions import Inspect
from scenewright.reconcile.decide.over import refuses_expiry
from scenewright.reconcile.decide.turns import ENDS, Situation, condition_of
from scenewright.reconcile.observation import Inspection

EXPIRY_REFUSED = "ExpiryRefused"
CACHE_NOT_SHARED = "ModelCacheNotShared"


def cautions(situation: Situation, plan: Plan) -> tuple[tuple[str, str] | None, list[Inspect]]:
    """Reason and message of the warning, and what has to be asked to know it."""
    expiry = refuses_expiry(situation.observed.object)
    unshared, asks = _unshared_cache(situation, plan)
    reason = EXPIRY_REFUSED if expiry else CACHE_NOT_SHARED
    message = "; ".join(text for text in (expiry, unshared) if text)
    return ((reason, message) if message else None), asks


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
