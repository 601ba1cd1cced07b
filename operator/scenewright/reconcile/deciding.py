"""The planner with its settings."""

from __future__ import annotations

from scenewright.reconcile.decide import decide
from scenewright.reconcile.decide.settings import DecideSettings
from scenewright.reconcile.reconciler import Decide


def planner(settings: DecideSettings | None = None) -> Decide:
    """``decide`` as a function of what is observed and of the time."""
    chosen = settings or DecideSettings()
    return lambda observed, now: decide(observed, chosen, now)
