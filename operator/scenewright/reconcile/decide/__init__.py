"""Deciding: pure functions from what is observed of an object to what is done about it.

:func:`decide` is the entrance. :mod:`~scenewright.reconcile.decide.memory` says what the status remembers,
:mod:`~scenewright.reconcile.decide.preconditions` what has to be so before a run starts,
:mod:`~scenewright.reconcile.decide.chain` which step comes next, :mod:`~scenewright.reconcile.decide.starting` why a
Job's Pods do not start, and :mod:`~scenewright.reconcile.decide.endings` how steps, passes and runs end. The table of
all states is in ``docs/reconciler.md``.
"""

from scenewright.reconcile.decide.context import DecideSettings
from scenewright.reconcile.decide.decision import decide

__all__ = ["DecideSettings", "decide"]
