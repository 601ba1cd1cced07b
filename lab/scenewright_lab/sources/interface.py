"""What every source of objects offers to the pages, and the errors that the pages explain.

A source keeps an up-to-date list of entries in memory and raises its version when one changes. Pages never wait for
storage or the API server to list objects.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from scenewright.api.raw import Json
from scenewright.cli.cluster.views import ObjectView


class NotFound(Exception):  # noqa: N818 - names a state, as the others here
    """There is no such object or file, or this person may not know of it: the two look the same from outside."""


class Refused(Exception):  # noqa: N818
    """The person may not do this, or what they sent is not valid; the message says why."""

    def __init__(self, message: str, status: int = 403) -> None:
        super().__init__(message)
        self.status = status


class Unavailable(Exception):  # noqa: N818
    """The storage or the API server does not answer at the moment."""


@dataclass(frozen=True)
class Person:
    """Who asks.

    Attributes:
        name: for display only; nothing is decided by it.
        token: their own bearer token; empty if the page serves one person with that person's credentials.
    """

    name: str = ""
    token: str = field(default="", repr=False)

    @property
    def key(self) -> str:
        """Identifies the person in caches without holding the token."""
        return hashlib.blake2b(self.token.encode(), digest_size=16).hexdigest() if self.token else ""


@dataclass(frozen=True)
class Picture:
    """A picture of one sample: its id, and the key below the object's results."""

    sample: str
    key: str
    psnr: float | None = None


@dataclass(frozen=True)
class Entry:
    """One object as the pages show it.

    Attributes:
        id: names it in URLs.
        uri: where its results lie; empty if this page may not read them.
        labels: of its metadata.
        licences: of the weights that made it; empty for none.
        backends: ``capability/backend`` of what made it.
        pictures: of its first samples.
        ended: time (epoch), samples and GPU seconds of each stage that has ended.
        suspended: it was stopped and can be resumed.
        modified: time of the last change, in seconds since the epoch.
        doing: what its processes do at this moment.
    """

    id: str
    view: ObjectView
    uri: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    licences: tuple[str, ...] = ()
    backends: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    ended: tuple[tuple[float, int, float], ...] = ()
    suspended: bool = False
    modified: float = 0.0
    doing: tuple[str, ...] = ()

    @property
    def has_failed(self) -> bool:
        """Whether a retry would have something to do."""
        view = self.view
        return view.phase == "Failed" or bool(view.failed or view.failures or any(each.failed for each in view.stages))

    @property
    def psnr(self) -> float | None:
        """The worst PSNR of held-out views, in dB."""
        return min((each.psnr for each in self.pictures if each.psnr is not None), default=None)


@dataclass(frozen=True)
class Log:
    """The end of one log."""

    title: str
    text: str


class Source(ABC):
    """Objects and what the pages show of them.

    Attributes:
        title: of the place, for people.
        problem: why the list may be out of date; empty if it is not.
        can_act: whether anything can be started or changed here.
        version: grows with every change of an entry.
    """

    title = ""
    problem = ""
    can_act = False
    version = 0

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    @abstractmethod
    async def start(self) -> None:
        """Begins to follow the objects; returns once there is a first list."""

    @abstractmethod
    async def stop(self) -> None:
        """Ends all that `start` began."""

    @abstractmethod
    async def entries(self, person: Person) -> Sequence[Entry]:
        """All objects that the person may see, newest first."""

    @abstractmethod
    async def entry(self, person: Person, name: str) -> Entry:
        """One object; NotFound if the person may not see it."""

    @abstractmethod
    async def document(self, person: Person, entry: Entry) -> Json:
        """The object's manifest."""

    @abstractmethod
    async def logs(self, person: Person, entry: Entry) -> list[Log]:
        """The ends of the logs of its last run."""

    async def events(self, person: Person, entry: Entry) -> list[str]:
        """What Kubernetes says of the object; empty elsewhere."""
        return []

    async def gpus(self, person: Person) -> int | None:
        """GPUs in use by what the person may see; None if unknown here."""
        return None

    def note_change(self) -> None:
        """Wakes everybody who waits for a change."""
        self.version += 1
        event, self._changed = self._changed, asyncio.Event()
        event.set()

    async def wait(self, known: int, seconds: float) -> int:
        """The version once it differs from `known`, or after this long."""
        if self.version == known:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._changed.wait()
        return self.version
