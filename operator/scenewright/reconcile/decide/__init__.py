"""Decides what to do about an object. Pure functions: no I/O, no clock, no state of their own.

:func:`decide` is the entry point. :mod:`~scenewright.reconcile.decide.memory` reads what the status remembers,
:mod:`~scenewright.reconcile.decide.preconditions` checks whether a run may start,
:mod:`~scenewright.reconcile.decide.chain` picks the next step, :mod:`~scenewright.reconcile.decide.starting` finds out
why a Job's Pods do not start, and :mod:`~scenewright.reconcile.decide.endings` ends steps, passes and runs.
``docs/reconciler.md`` has a table of all states.
"""

from scenewright.reconcile.decide.context import DecideSettings
from scenewright.reconcile.decide.decision import decide, stalled

__all__ = ["DecideSettings", "decide", "stalled"]
