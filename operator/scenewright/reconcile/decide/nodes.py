"""Pods on lost nodes: nobody but this operator lets go of them, and their Jobs would wait for ever."""

from __future__ import annotations

from scenewright.reconcile.actions import Action, Inspect, ReleasePod
from scenewright.reconcile.decide.times import soonest
from scenewright.reconcile.decide.turns import Situation
from scenewright.reconcile.observation import Inspection, ObservedPod


def releases(situation: Situation) -> tuple[list[Action], float | None]:
    """Pods to release, nodes to ask about, and seconds until the next look.

    A Pod that terminates beyond its grace period plus a minute is released when its node is not Ready or gone:
    deleting it by force does not help, since the Job controller's finalizer waits for its phase.
    """
    actions: list[Action] = []
    again_after: float | None = None
    for pod in situation.observed.pods:
        if pod.deleted_at is None or not pod.node or pod.phase not in ("Pending", "Running", "Unknown"):
            continue
        overdue = (situation.now - pod.deleted_at).total_seconds() - situation.settings.node_loss
        if overdue < 0:
            again_after = soonest(again_after, -overdue)
            continue
        action = _overdue(situation, pod)
        again_after = soonest(again_after, situation.settings.node_loss)
        if action is not None and action not in actions:
            actions.append(action)
    asks = any(isinstance(action, Inspect) for action in actions)
    return actions, soonest(again_after, situation.settings.answer_soon if asks else None)


def _overdue(situation: Situation, pod: ObservedPod) -> Action | None:
    """Releases a Pod, or asks about its node; leaves the Pod alone if the node is well or unknown."""
    inspection = Inspection("node", pod.node)
    answer = situation.answer(inspection)
    if answer is None:
        return Inspect(inspection)
    return ReleasePod(pod.name, pod.uid) if answer.holds is False else None
