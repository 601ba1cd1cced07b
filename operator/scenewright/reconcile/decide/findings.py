"""What holds a Job up."""

from __future__ import annotations

from dataclasses import dataclass, replace

from scenewright.reconcile.decide.times import soonest
from scenewright.reconcile.observation import Inspection


@dataclass(frozen=True)
class Finding:
    """One thing that holds a Job up, or may do so later.

    Attributes:
        reason, message: of the condition; no reason while it is too early for one.
        fatal: the run fails for it.
        ask: what has to be known before more can be said.
        again_after: seconds until it has to be looked at again.
        tells_news: its message is worth telling anew whenever it changes.
    """

    reason: str = ""
    message: str = ""
    fatal: bool = False
    ask: Inspection | None = None
    again_after: float | None = None
    tells_news: bool = False

    def no_later_than(self, again_after: float | None) -> Finding:
        """The same with an earlier look."""
        return replace(self, again_after=soonest(self.again_after, again_after))


NOTHING = Finding()
