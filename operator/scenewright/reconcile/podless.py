"""Jobs that have no Pods yet: their object is looked at when they still have none after a while.

Nothing else tells of a Pod that a quota or a policy refuses. Nearly every Job has its Pods within a second, and then
there is no reason to look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from scenewright.reconcile.decide.settings import PODLESS_SECONDS
from scenewright.reconcile.observation import ObjectKey, ObservedJob


class PodlessJobs:
    """A timer for each of them.

    Args:
        look: called with the key of the object whose Job has had no Pods for so long.
    """

    def __init__(self, look: Callable[[ObjectKey], None]) -> None:
        self._look = look
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        return len(self._timers)

    def note(self, key: ObjectKey, old: ObservedJob | None, new: ObservedJob | None) -> None:
        """A Job has come, changed or gone."""
        if new is not None and old is None and not _has_had_pods(new):
            self._timers[new.uid] = asyncio.get_running_loop().call_later(PODLESS_SECONDS, self._over, key, new.uid)
        elif old is not None and (new is None or _has_had_pods(new)):
            self._forget(old.uid)

    def _over(self, key: ObjectKey, uid: str) -> None:
        del self._timers[uid]
        self._look(key)

    def _forget(self, uid: str) -> None:
        timer = self._timers.pop(uid, None)
        if timer is not None:
            timer.cancel()


def _has_had_pods(job: ObservedJob) -> bool:
    return bool(job.active or job.terminating or job.succeeded or job.failed or job.ended)
