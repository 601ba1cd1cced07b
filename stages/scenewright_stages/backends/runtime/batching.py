"""Batches calls from several threads: one thread runs the model on all waiting items.

While the model runs one batch, the next one fills up. Callers pre- and postprocess on their own threads, so the device
never waits for that.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(frozen=True, eq=False)
class _Request(Generic[Item, Answer]):
    item: Item
    group: Hashable
    future: Future[Answer]


class Batcher(Generic[Item, Answer]):
    """Gathers calls into batches.

    Args:
        run: processes a batch and returns one answer per item, in order; called from a single thread.
        group: items with equal groups (such as their size) can share a batch.
        largest: maximum batch size; 1 disables batching.
        patience_seconds: how long an incomplete batch waits for more items once the device is free.
    """

    def __init__(
        self,
        run: Callable[[list[Item]], Sequence[Answer]],
        group: Callable[[Item], Hashable],
        largest: int,
        patience_seconds: float = 0.004,
    ) -> None:
        self._run, self._group = run, group
        self._largest, self._patience = max(1, largest), patience_seconds
        self._waiting: queue.SimpleQueue[_Request[Item, Answer] | None] = queue.SimpleQueue()
        self._left: list[_Request[Item, Answer]] = []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False

    def __call__(self, item: Item) -> Answer:
        """Waits for and returns the answer to one item.

        Raises:
            RuntimeError: the batcher was closed.

        Also re-raises exceptions of ``run`` for the item's batch; a batch that runs out of memory is first halved.
        """
        request: _Request[Item, Answer] = _Request(item, self._group(item), Future())
        with self._lock:
            if self._closed:
                raise RuntimeError("the model was released")
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="model", daemon=True)
                self._thread.start()
            self._waiting.put(request)
        return request.future.result()

    def close(self) -> None:
        """Processes waiting items, then ends the thread."""
        with self._lock:
            self._closed = True
            thread, self._thread = self._thread, None
        if thread is not None:
            self._waiting.put(None)
            thread.join()

    def _serve(self) -> None:
        open_ = True
        while open_ or self._left:
            batch, open_ = self._next_batch(open_)
            if batch:
                self._answer(batch)

    def _next_batch(self, open_: bool) -> tuple[list[_Request[Item, Answer]], bool]:
        """The longest-waiting item with others of its group, and whether more items may come."""
        waiting, self._left = self._left, []
        while open_ and not self._is_full(waiting):
            try:
                request = self._waiting.get(timeout=self._patience if waiting else None)
            except queue.Empty:
                break
            if request is None:
                open_ = False
            else:
                waiting.append(request)
        if not waiting:
            return [], open_
        same = [request for request in waiting if request.group == waiting[0].group]
        batch = same[: self._largest]
        served = set(map(id, batch))
        self._left = [request for request in waiting if id(request) not in served]
        return batch, open_

    def _is_full(self, waiting: list[_Request[Item, Answer]]) -> bool:
        return bool(waiting) and sum(one.group == waiting[0].group for one in waiting) >= self._largest

    def _answer(self, batch: list[_Request[Item, Answer]]) -> None:
        try:
            answers = self._run([request.item for request in batch])
        except Exception as error:
            if len(batch) > 1 and "out of memory" in str(error).lower():
                half = len(batch) // 2
                self._answer(batch[:half])
                self._answer(batch[half:])
                return
            for request in batch:
                request.future.set_exception(error)
            return
        for request, answer in zip(batch, answers, strict=True):
            request.future.set_result(answer)
