"""Something that a test has done again and again beside it, in a thread."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import ClassVar, Self

from cluster.api import ApiError

_PAUSE_SECONDS = 0.3


class Repeating(ABC):
    """As a context manager: takes turns until the end, which raises what went wrong.

    Attributes:
        PASSING: codes of API errors that end a turn alone: what it is about may be gone meanwhile.
    """

    PASSING: ClassVar[frozenset[int]] = frozenset()

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._problem: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=type(self).__name__)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._problem is not None:
            raise self._problem

    @abstractmethod
    def turn(self) -> None:
        """What is done each time."""

    def _run(self) -> None:
        while not self._stop.wait(_PAUSE_SECONDS):
            try:
                self.turn()
            except Exception as problem:
                if not (isinstance(problem, ApiError) and problem.code in self.PASSING):
                    self._problem = problem
                    return
