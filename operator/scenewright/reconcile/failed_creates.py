"""What the Job controller says of Pods that it could not create: one list of a namespace's Events answers all who ask.

The API server reads every Event of a namespace for each such list, whatever it selects. When a quota is full, every
young Job has the question: asked one by one they would hold all workers, and one list after the other would keep the
API server from its work.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from scenewright.reconcile.cluster.client import Client
from scenewright.reconcile.cluster.resources import EVENTS
from scenewright.reconcile.observation import Answer

_SELECTOR = "involvedObject.kind=Job,reason=FailedCreate"
_PAUSE = 9
"""After a list comes a pause of so many times its duration: at most a tenth of the time has one under way."""
_LONGEST_PAUSE = 60.0


@dataclass
class _Questions:
    """Of one namespace; Jobs by uid.

    Attributes:
        asked: since the last list began.
        told: answers of the last list that nobody has fetched yet.
        listing: a list is under way.
        not_before: when the next list may begin, on the clock of pauses.
    """

    asked: set[str] = field(default_factory=set)
    told: dict[str, Answer] = field(default_factory=dict)
    listing: bool = False
    not_before: float = 0.0


class FailedCreates:
    """Asks for all at once, at most one list at a time in each namespace, with pauses.

    Args:
        client: of the API server.
        now: time of the answers.
        clock: seconds, for the pauses.
    """

    def __init__(
        self, client: Client, now: Callable[[], datetime], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._now = now
        self._clock = clock
        self._questions: defaultdict[str, _Questions] = defaultdict(_Questions)

    async def of(self, namespace: str, job_uid: str) -> Answer | None:
        """Whether there are such Events of the Job, and the newest one's message.

        Returns:
            None during a list that began before the question, and in the pause after it; the next one answers it.

        Raises:
            ApiError: the Events could not be listed; who waited for the list asks again.
        """
        questions = self._questions[namespace]
        if (told := questions.told.pop(job_uid, None)) is not None:
            return told
        questions.asked.add(job_uid)
        began = self._clock()
        if questions.listing or began < questions.not_before:
            return None
        questions.listing = True
        try:
            questions.told = await self._answers(namespace, questions)
        finally:
            questions.listing = False
        ended = self._clock()
        questions.not_before = ended + min(_PAUSE * (ended - began), _LONGEST_PAUSE)
        return questions.told.pop(job_uid)

    async def _answers(self, namespace: str, questions: _Questions) -> dict[str, Answer]:
        jobs, questions.asked = questions.asked, set()
        at = self._now()
        newest: dict[str, tuple[str, str]] = {}
        async for page in self._client.pages(EVENTS, namespace, fieldSelector=_SELECTOR):
            for event in page.get("items") or ():
                uid = event["involvedObject"].get("uid", "")
                if uid in jobs:
                    seen = event.get("lastTimestamp") or event.get("eventTime") or ""
                    newest[uid] = max(newest.get(uid, ("", "")), (seen, event.get("message", "")))
        return {uid: Answer(uid in newest, newest.get(uid, ("", ""))[1], at) for uid in jobs}
