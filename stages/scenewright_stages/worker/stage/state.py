"""Durable state of long work: saved atomically, resumed by the next attempt, and never mixed with other work.

A state lies below ``.scenewright/state/<stage>/<sample>/<identity>/``. The identity is a hash of the stage's key, the
input and everything read upstream, so a state made with other parameters or data is never resumed. The files of a step
are stored first; ``latest.json``, which lists them with their hashes, is stored last and is the commit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from scenewright_stages.contract.keys import short_hash
from scenewright_stages.contract.layout import state_prefix
from scenewright_stages.store import ObjectMissing, Store, hash_file
from scenewright_stages.worker.worklists import WorkItem

LATEST = "latest.json"


class SavedState:
    """The state of one sample (see :class:`~scenewright_stages.contract.stage.StageState`).

    Args:
        store: the output.
        prefix: folder of this identity, with a trailing slash.
        folder: for local copies.
        on_saved: called with the step once a state is durable.
    """

    def __init__(self, store: Store, prefix: str, folder: Path, on_saved: Callable[[int], None]) -> None:
        self._store, self._prefix, self._folder, self._on_saved = store, prefix, folder, on_saved
        self._latest = self._read_latest()
        self._files = self._fetched()

    @property
    def step(self) -> int:
        """Step of the last saved state; 0 if there is none."""
        return int(self._latest.get("step", 0))

    @property
    def files(self) -> Mapping[str, Path]:
        """Local copies of that state's files by name, as of the start of this process."""
        return self._files

    def save(self, step: int, files: Mapping[str, Path]) -> None:
        """Replaces the stored state; returns once the new one is durable.

        Raises:
            ValueError: the step is not greater than the last one.
        """
        if step <= self.step:
            raise ValueError(f"step {step} is not beyond the last saved step {self.step}")
        listing: dict[str, Any] = {}
        for name, path in sorted(files.items()):
            listing[name] = {"size": path.stat().st_size, "hash": hash_file(path)}
            self._store.put_file(f"{self._prefix}{step}/{name}", path)
        before = self._latest
        self._latest = {"step": step, "files": listing}
        self._store.put_bytes(f"{self._prefix}{LATEST}", json.dumps(self._latest, sort_keys=True).encode())
        self._on_saved(step)
        self._store.delete([f"{self._prefix}{before['step']}/{name}" for name in before.get("files", {})])

    def _read_latest(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self._store.get_bytes(f"{self._prefix}{LATEST}"))
        except ObjectMissing:
            return {}
        except ValueError:
            print(f"the saved state is damaged ({LATEST}); starting from the beginning", flush=True)
            return {}
        return found

    def _fetched(self) -> dict[str, Path]:
        """Local copies; a state with a missing or damaged file is ignored with a message."""
        found: dict[str, Path] = {}
        for name, entry in self._latest.get("files", {}).items():
            key = f"{self._prefix}{self.step}/{name}"
            try:
                local = self._store.local_path(key)
                path = local or self._folder / name
                if local is None:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    self._store.get_file(key, path)
                damaged = hash_file(path) != entry["hash"]
            except (ObjectMissing, FileNotFoundError):
                damaged = True
            if damaged:
                print(
                    f"the saved state of step {self.step} is damaged ({name}); starting from the beginning", flush=True
                )
                self._latest = {}
                return {}
            found[name] = path
        return found


def identity(item: WorkItem, key: str) -> str:
    """Hash of everything a state depends on: stage key, inputs and upstream outputs."""
    return short_hash([key, item.fingerprint, {stage: dict(hashes) for stage, hashes in item.hashes.items()}])


def open_state(
    store: Store, stage: str, key: str, item: WorkItem, folder: Path, on_saved: Callable[[int], None]
) -> SavedState:
    """The state of an item with its last saved files; prints a message if only states of other work exist."""
    prefix = state_prefix(stage, item.sample.id)
    own = f"{prefix}{identity(item, key)}/"
    state = SavedState(store, own, folder, on_saved)
    if state.step:
        print(f"{stage} {item.sample.id} continues from the state saved at step {state.step}", flush=True)
    elif any(each.key.endswith(f"/{LATEST}") for each in store.list(prefix)):
        why = "the saved state was made of other parameters or data"
        print(f"{stage} {item.sample.id}: {why}; starting from the beginning", flush=True)
    return state


class MirroredState:
    """The state for ranks other than 0: they read what rank 0 saved, and save nothing."""

    def __init__(self, step: int, files: Mapping[str, Path]) -> None:
        self.step = step
        self.files = dict(files)

    def save(self, step: int, files: Mapping[str, Path]) -> None:
        """Only updates the step; rank 0 stores the state."""
        self.step = step
