"""Many small kernels as one launch: CUDA graphs of pure functions."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

TensorFunction = Callable[..., tuple[torch.Tensor, ...]]
Run = Callable[..., tuple[torch.Tensor, ...]]


def run_plainly(function: TensorFunction, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The function's results."""
    return function(*tensors)


def recording(device: torch.device) -> AbstractContextManager[Run]:
    """A context whose value calls functions of tensors, faster than plainly where the device can."""
    return Recorder() if device.type == "cuda" else nullcontext(run_plainly)


class Recorder:
    """Calls functions of tensors: records them the first time, and replays them from then on.

    Such a function launches the same kernels on tensors of the same shapes every time, waits for nothing and keeps no
    state. All recordings share their scratch memory: calls come from one stream, and what one returns is overwritten
    by the next call of any function. As a context manager it gives the memory back at the end.
    """

    def __init__(self) -> None:
        self._pool: Any = torch.cuda.graph_pool_handle()
        # Held here, also because the pool is gone for good once nothing uses it.
        self._recordings: dict[TensorFunction, _Recording] = {}
        self._tried: set[str] = set()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self._recordings.clear()

    def __call__(self, function: TensorFunction, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The function's results; equal functions are recorded once."""
        found = self._recordings.get(function)
        if found is None:
            found = self._recordings[function] = self._record(function, tensors)
        return found.replay(tensors)

    def _record(self, function: TensorFunction, examples: tuple[torch.Tensor, ...]) -> _Recording:
        inputs = tuple(tensor.detach().clone() for tensor in examples)
        if function.__qualname__ not in self._tried:
            # Kernels are loaded and libraries set themselves up in a first call, which must not be recorded.
            function(*inputs)
            self._tried.add(function.__qualname__)
        return _Recording(function, inputs, self._pool)


class _Recording:
    """A graph with its own inputs and results."""

    def __init__(self, function: TensorFunction, inputs: tuple[torch.Tensor, ...], pool: Any) -> None:
        self._inputs = inputs
        self._graph = torch.cuda.CUDAGraph()
        stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            # Not `torch.cuda.graph`, which empties the allocator's cache each time. Other threads may go on using
            # the device meanwhile.
            self._graph.capture_begin(pool=pool, capture_error_mode="thread_local")
            try:
                self._results = function(*inputs)
            finally:
                self._graph.capture_end()
        torch.cuda.current_stream().wait_stream(stream)

    def replay(self, tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        for held, tensor in zip(self._inputs, tensors, strict=True):
            held.copy_(tensor)
        self._graph.replay()
        return self._results
