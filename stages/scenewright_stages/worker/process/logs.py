"""Captures an attempt's log, everything that any code writes to stdout or stderr, and stores it as it grows."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

from scenewright_stages.store import Store

FLUSH_SECONDS = 3.0
"""Of a killed process, every line older than 5 s has to be in storage, the time to write it included."""
PART_BYTES = 1 << 20
"""A log continues in a new object beyond this, since every flush writes the growing one whole."""
CAPTURED = (1, 2)


class LogCapture:
    """Redirects descriptors 1 and 2 to a file, echoes it to where they pointed before, and stores it.

    Captures descriptors instead of ``sys.stdout``, so that the log includes output of compiled code and of crashes.

    Args:
        path: local file that receives the output.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b", buffering=0)
        self._shown = os.dup(2)
        self._saved = [os.dup(descriptor) for descriptor in CAPTURED]
        self._echoed = 0
        self._stored = 0
        self._part, self._part_start = 0, 0
        self._flushed_at = time.monotonic()
        self._target: tuple[Store, str] | None = None
        self._lock = threading.Lock()
        sys.stdout.flush()
        sys.stderr.flush()
        append = os.open(path, os.O_WRONLY | os.O_APPEND)
        for descriptor in CAPTURED:
            os.dup2(append, descriptor)
        os.close(append)

    @property
    def shown(self) -> int:
        """Descriptor of the original stderr."""
        return self._shown

    def store_to(self, store: Store, key: str) -> None:
        """Stores the log below `key` from now on (continued as ``.001`` and so on, which sort after it)."""
        with self._lock:
            self._target = (store, key)

    def echo(self) -> None:
        """Echoes what was written since the last call."""
        with self._lock:
            while block := os.pread(self._file.fileno(), 1 << 16, self._echoed):
                self._echoed += len(block)
                _write_all(self._shown, block)

    def flush_if_due(self) -> None:
        """Stores the log's growth every 3 s."""
        if time.monotonic() - self._flushed_at >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Stores everything written so far; raises StoreError."""
        with self._lock:
            self._flushed_at = time.monotonic()
            size = os.fstat(self._file.fileno()).st_size
            if self._target is None or size == self._stored:
                return
            store, key = self._target
            while self._stored < size:
                end = min(size, self._part_start + PART_BYTES)
                content = os.pread(self._file.fileno(), end - self._part_start, self._part_start)
                store.put_bytes(f"{key}.{self._part:03d}" if self._part else key, content)
                self._stored = end
                if end == self._part_start + PART_BYTES:
                    self._part, self._part_start = self._part + 1, end

    def close(self) -> None:
        """Restores the descriptors."""
        sys.stdout.flush()
        sys.stderr.flush()
        self.echo()
        for descriptor, saved in zip(CAPTURED, self._saved, strict=True):
            os.dup2(saved, descriptor)
            os.close(saved)
        os.close(self._shown)
        self._file.close()


def _write_all(descriptor: int, data: bytes) -> None:
    """Writes to a terminal or pipe, ignoring that it may be gone: only the stored log matters."""
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except OSError:
        return
