"""The batcher gathers what waits, keeps groups apart, and passes errors to those they concern."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from scenewright_stages.backends.runtime.batching import Batcher


class Model:
    """Doubles numbers; the first batch waits until it is told to go on."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go_on = threading.Event()

    def __call__(self, items: list[int]) -> Sequence[int]:
        self.batches.append(list(items))
        if len(self.batches) == 1:
            assert self.go_on.wait(20)
        if len(items) > 1 and 13 in items:
            raise RuntimeError("CUDA out of memory")
        if 99 in items:
            raise ValueError("broken item")
        return [2 * item for item in items]


def _run(items: list[int], largest: int, group: int = 1000) -> tuple[list[object], Model]:
    """Answers (or errors) of items that all wait while the first one runs."""
    model = Model()
    batcher: Batcher[int, int] = Batcher(model, lambda item: item // group, largest, patience_seconds=0.2)
    arrived = threading.Semaphore(0)

    def ask(item: int) -> object:
        arrived.release()
        try:
            return batcher(item)
        except (RuntimeError, ValueError) as error:
            return error

    with ThreadPoolExecutor(len(items)) as threads:
        futures = [threads.submit(ask, items[0])]
        while not model.batches:
            threading.Event().wait(0.001)
        futures += [threads.submit(ask, item) for item in items[1:]]
        for _ in items:
            arrived.acquire()
        threading.Event().wait(0.05)
        model.go_on.set()
        answers = [future.result(20) for future in futures]
    batcher.close()
    with pytest.raises(RuntimeError, match="released"):
        batcher(1)
    return answers, model


def test_what_waits_shares_batches_of_the_largest_size() -> None:
    answers, model = _run([1, 2, 3, 4, 5, 6], largest=3)
    assert answers == [2, 4, 6, 8, 10, 12]
    assert all(len(batch) <= 3 for batch in model.batches)
    assert len(model.batches) < 6


def test_one_by_one_is_one_by_one() -> None:
    answers, model = _run([1, 2, 3], largest=1)
    assert answers == [2, 4, 6]
    assert sorted(map(len, model.batches)) == [1, 1, 1]


def test_other_groups_wait_for_their_own_batch() -> None:
    answers, model = _run([1, 1001, 2, 1002, 3], largest=8)
    assert answers == [2, 2002, 4, 2004, 6]
    assert all(len({item // 1000 for item in batch}) == 1 for batch in model.batches)


def test_items_need_not_be_comparable() -> None:
    class Picture:
        """Comparing arrays and tensors gives no single answer."""

        def __init__(self, size: int) -> None:
            self.size = size

        def __eq__(self, other: object) -> bool:
            raise ValueError("ambiguous")

        __hash__ = None  # type: ignore[assignment]

    batcher: Batcher[Picture, int] = Batcher(lambda items: [one.size for one in items], lambda one: one.size, 2, 0.05)
    sizes = [1, 2, 1, 2, 3, 1]
    with ThreadPoolExecutor(len(sizes)) as threads:
        assert list(threads.map(lambda size: batcher(Picture(size)), sizes)) == sizes
    batcher.close()


def test_a_batch_that_does_not_fit_is_halved() -> None:
    answers, model = _run([1, 12, 13, 14], largest=8)
    assert answers == [2, 24, 26, 28]
    assert [13] in model.batches


def test_an_error_concerns_its_batch_alone() -> None:
    answers, _ = _run([1, 99], largest=1)
    assert answers[0] == 2
    assert isinstance(answers[1], ValueError)
