"""The lock of an output: one holder at a time, across clusters and laptops."""

from __future__ import annotations

import json
import random
import socket
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from scenewright_stages.contract.errors import OutputInUse
from scenewright_stages.contract.layout import LOCK
from scenewright_stages.store import ObjectMissing, PreconditionFailed, Store

EXPIRY_SECONDS = 300.0
"""For so long others wait after a holder that could not release the lock, such as an object that was deleted."""
RENEWAL_SECONDS = 60.0
ATTEMPTS = 10
GONE = -1


@dataclass(frozen=True)
class Holder:
    """Who holds an output.

    Attributes:
        name: processes with equal names are the same holder, such as all Pods of one object.
        host, process, process_started: the process whose death frees the lock for others on its host. The start time
            (clock ticks since boot) distinguishes it from a later process with the same id.
        expires: in seconds since the epoch.
    """

    name: str
    host: str
    process: int
    process_started: int
    expires: float

    @classmethod
    def here(cls, name: str, process: int) -> Holder:
        """A holder that lives as long as the given process on this host."""
        host = socket.gethostname()
        return cls(name or f"{host}:{process}", host, process, _process_start(process), time.time() + EXPIRY_SECONDS)

    def is_dead(self) -> bool:
        """Whether its process ran on this host and is gone."""
        if self.host != socket.gethostname():
            return False
        started = _process_start(self.process)
        return started == GONE or started != self.process_started


class OutputLock:
    """The lock of one output.

    Args:
        store: the output.
        name: of the holder; empty for a unique name.
        process: the process whose life keeps the lock valid.

    Attributes:
        was_held: whether this process has ever held the lock; otherwise it must write nothing.
    """

    def __init__(self, store: Store, name: str, process: int) -> None:
        self._store = store
        self._name, self._process = name, process
        self._renewed_at = 0.0
        self.was_held = False

    def acquire(self) -> None:
        """Takes or renews the lock.

        Raises:
            OutputInUse: another living holder has it.
        """
        for attempt in range(ATTEMPTS):
            mine = Holder.here(self._name, self._process)
            try:
                self._write(mine)
            except PreconditionFailed:
                # Shards of one job start together, and all of them renew it.
                time.sleep(random.uniform(0.0, 0.1 * (attempt + 1)))
                continue
            self._renewed_at = time.monotonic()
            self.was_held = True
            return
        raise OutputInUse(self._store.uri, "many processes want this output; try again", time.time())

    def renew_if_due(self) -> None:
        """Renews the lock every minute; raises OutputInUse if another holder took it over."""
        if time.monotonic() - self._renewed_at >= RENEWAL_SECONDS:
            self.acquire()

    def release(self) -> None:
        """Releases the lock if this holder has it."""
        current = self._read()
        if current is not None and current[0].name == Holder.here(self._name, self._process).name:
            self._store.delete([LOCK])

    def _write(self, mine: Holder) -> None:
        current = self._read()
        content = json.dumps(asdict(mine), sort_keys=True).encode()
        if current is None:
            self._store.put_bytes(LOCK, content, if_absent=True)
            return
        holder, etag = current
        if _is_fresh(holder, mine):
            return
        if holder.name != mine.name and holder.expires > time.time() and not holder.is_dead():
            raise OutputInUse(self._store.uri, _refusal(holder), holder.expires)
        self._store.put_bytes(LOCK, content, if_match=etag)

    def _read(self) -> tuple[Holder, str] | None:
        found = self._store.head(LOCK)
        if found is None:
            return None
        try:
            return Holder(**json.loads(self._store.get_bytes(LOCK))), found.etag
        except ObjectMissing:
            return None
        except (ValueError, TypeError):
            # Another version wrote it: treat the holder as unknown until the lock is old.
            return Holder("an unknown holder", "", 0, 0, found.modified + EXPIRY_SECONDS), found.etag


def _is_fresh(holder: Holder, mine: Holder) -> bool:
    """Whether another process of the same holder has just renewed the lock, so this one need not."""
    same = holder.name == mine.name and (holder.host != mine.host or holder.process == mine.process)
    return same and holder.expires > mine.expires - RENEWAL_SECONDS / 2


def _refusal(holder: Holder) -> str:
    until = datetime.fromtimestamp(holder.expires, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    where = f" on {holder.host}, process {holder.process}" if holder.host else ""
    return f"in use by {holder.name}{where}, until {until}; wait, end that job, or choose another output"


def _process_start(process: int) -> int:
    """Start time of a process in clock ticks since boot, GONE if it does not exist (proc(5), field 22 of stat)."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return GONE
    return GONE if fields[0] in "ZX" else int(fields[19])
