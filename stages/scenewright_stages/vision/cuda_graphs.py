"""CUDA graphs: records functions that always launch the same kernels, and replays them as a single launch.

The Gaussian fit records whole steps (`graph_runner`), and model backends replay their networks (`ReplayedCalls`). On
other devices the functions run normally.
"""

from __future__ import annotations

import gc
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from typing import Any, Protocol, TypeVar

import torch

Result = TypeVar("Result")
TensorFunction = Callable[..., tuple[torch.Tensor, ...]]


class RoundTrip:
    """The forward and backward pass of a function of tensors.

    Args:
        function: its results have an autograd history back to leaf tensors.
        after: called once the leaves have their gradients.
    """

    def __init__(self, function: TensorFunction, after: Callable[[], None]) -> None:
        self._function, self._after = function, after
        self._results: tuple[torch.Tensor, ...] = ()

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The function's results, detached."""
        self._results = self._function(*tensors)
        return tuple(result.detach() for result in self._results)

    def backward(self, *gradients: torch.Tensor) -> None:
        """Backpropagates the gradients of the results that have a history, in order."""
        torch.autograd.backward(self._differentiable, gradients)
        # Results with a history also keep the stream on which their leaves accumulate gradients.
        self._results = ()
        self._after()

    @property
    def _differentiable(self) -> tuple[torch.Tensor, ...]:
        return tuple(result for result in self._results if result.requires_grad)


class Runner(Protocol):
    """Calls functions that always launch the same kernels for tensors of the same shapes."""

    def __call__(self, function: TensorFunction, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The function's results; the next call of any function overwrites them."""

    def round_trip(self, function: TensorFunction, after: Callable[[], None]) -> RoundTrip:
        """See `RoundTrip`; `function` and `after` must not synchronise."""


class PlainRunner:
    """Calls functions without recording."""

    def __call__(self, function: TensorFunction, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return function(*tensors)

    def round_trip(self, function: TensorFunction, after: Callable[[], None]) -> RoundTrip:
        return RoundTrip(function, after)


def graph_runner(device: torch.device) -> AbstractContextManager[Runner]:
    """A context manager that yields a runner, with CUDA graphs if the device supports them."""
    return GraphRunner() if device.type == "cuda" else nullcontext(PlainRunner())


class GraphRunner:
    """Records functions the first time, and replays them from then on.

    The functions must be stateless and must not synchronise. All recordings share their scratch memory, so calls must
    come from one stream. Leaving the context manager frees the memory.
    """

    def __init__(self) -> None:
        self._pool: Any = torch.cuda.graph_pool_handle()
        # Keep a reference, because CUDA destroys the pool once nothing uses it.
        self._recordings: dict[TensorFunction, _Graph] = {}
        self._round_trips: list[_ReplayedRoundTrip] = []
        self._tried: set[str] = set()

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self._recordings.clear()
        for each in self._round_trips:
            each.forget()

    def __call__(self, function: TensorFunction, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The function's results; records equal functions once."""
        found = self._recordings.get(function)
        if found is None:
            found = self._recordings[function] = self._record(function, tensors)
        return found.replay(tensors)

    def round_trip(self, function: TensorFunction, after: Callable[[], None]) -> RoundTrip:
        """Recorded at its second call, because the first call may create state such as an optimiser's."""
        self._round_trips.append(_ReplayedRoundTrip(function, after))
        return self._round_trips[-1]

    def _record(self, function: TensorFunction, examples: tuple[torch.Tensor, ...]) -> _Graph:
        if function.__qualname__ not in self._tried:
            # The first call loads kernels and initialises libraries, which must not be recorded.
            function(*examples)
            self._tried.add(function.__qualname__)
        return _Graph(function, examples, self._pool)


class ReplayedCalls:
    """A network's `forward` in inference, replayed from the second call of the same shapes on.

    The next call overwrites the results, so use them before.

    Args:
        forward: called with tensors and constants by name; must be stateless and must not synchronise.
        sizes: how many combinations of shapes to keep; older ones are recorded again on demand.
    """

    def __init__(self, forward: TensorFunction, sizes: int = 4) -> None:
        self._forward, self._sizes = forward, sizes
        self._pool: Any = None
        self._recordings: OrderedDict[object, _Graph | None] = OrderedDict()

    def __call__(self, **arguments: Any) -> tuple[torch.Tensor, ...]:
        tensors = {name: value for name, value in arguments.items() if isinstance(value, torch.Tensor)}
        constants = {name: value for name, value in arguments.items() if name not in tensors}
        if torch.is_grad_enabled() or not all(tensor.is_cuda for tensor in tensors.values()):
            return self._forward(**arguments)
        key = (_shapes(tensors), repr(constants))
        if key not in self._recordings:
            # The first call compiles and autotunes kernels for its shapes, which cannot be recorded.
            self._keep(key, None)
            return self._forward(**arguments)
        recording = self._recordings[key] or self._record(tensors, constants)
        self._keep(key, recording)
        return recording.replay(tuple(tensors.values()))

    def forget(self) -> None:
        """Frees all recordings, because `forward` launches other kernels from now on."""
        self._recordings.clear()
        self._pool = None

    def _record(self, tensors: dict[str, torch.Tensor], constants: dict[str, Any]) -> _Graph:
        # All sizes share one memory pool, because they never run at the same time.
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        return _Graph(self._by_position(tuple(tensors), constants), tuple(tensors.values()), self._pool)

    def _by_position(self, names: Sequence[str], constants: dict[str, Any]) -> TensorFunction:
        def call(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return self._forward(**dict(zip(names, tensors, strict=True)), **constants)

        return call

    def _keep(self, key: object, recording: _Graph | None) -> None:
        self._recordings[key] = recording
        self._recordings.move_to_end(key)
        while len(self._recordings) > self._sizes:
            self._recordings.popitem(last=False)


def _shapes(tensors: dict[str, torch.Tensor]) -> tuple[tuple[str, torch.Size, torch.dtype], ...]:
    return tuple((name, tensor.shape, tensor.dtype) for name, tensor in tensors.items())


class _Graph:
    """A recorded graph with its input and result tensors."""

    def __init__(self, function: TensorFunction, examples: tuple[torch.Tensor, ...], pool: Any) -> None:
        self._inputs = tuple(tensor.detach().clone() for tensor in examples)
        self._graph, self.results = _capture(lambda: function(*self._inputs), pool)

    def replay(self, tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        _refill(self._inputs, tensors)
        return self.run()

    def run(self) -> tuple[torch.Tensor, ...]:
        """Replays with the current inputs."""
        self._graph.replay()
        return self.results

    def forget_history(self) -> None:
        """Frees the autograd graph of these results."""
        self.results = tuple(result.detach() for result in self.results)


class _ReplayedRoundTrip(RoundTrip):
    """Records each direction at its second call. Both share memory, because backward reads what forward wrote."""

    def __init__(self, function: TensorFunction, after: Callable[[], None]) -> None:
        super().__init__(function, after)
        self._pool: Any = torch.cuda.graph_pool_handle()
        self._tried = False
        self._forward_graph: _Graph | None = None
        self._gradients: tuple[torch.Tensor, ...] = ()
        self._backward_graph: torch.cuda.CUDAGraph | None = None

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if not self._tried:
            return super().forward(*tensors)
        if self._forward_graph is None:
            # Until backward is recorded, autograd forbids writing to its inputs.
            self._forward_graph = _Graph(self._function, tensors, self._pool)
            results = self._forward_graph.run()
        else:
            results = self._forward_graph.replay(tensors)
        return tuple(result.detach() for result in results)

    def backward(self, *gradients: torch.Tensor) -> None:
        if self._forward_graph is None:
            super().backward(*gradients)
            self._tried = True
            return
        if self._backward_graph is None:
            self._results = self._forward_graph.results
            self._gradients = tuple(gradient.contiguous().clone() for gradient in gradients)
            self._backward_graph, _ = _capture(self._record_backward, self._pool)
            self._forward_graph.forget_history()
        _refill(self._gradients, gradients)
        self._backward_graph.replay()

    def forget(self) -> None:
        """Frees the recordings. They refer to themselves, and a garbage collection may be many trainings away."""
        self._forward_graph, self._backward_graph = None, None
        self._results, self._gradients = (), ()

    def _record_backward(self) -> None:
        # Work on autograd's own thread would not be recorded.
        with torch.autograd.set_multithreading_enabled(False):
            super().backward(*self._gradients)


def _refill(held: tuple[torch.Tensor, ...], tensors: tuple[torch.Tensor, ...]) -> None:
    for holder, tensor in zip(held, tensors, strict=True):
        holder.copy_(tensor)


def _capture(function: Callable[[], Result], pool: Any) -> tuple[torch.cuda.CUDAGraph, Result]:
    """The graph of everything that the function launches, and its results."""
    graph, stream = torch.cuda.CUDAGraph(), _capture_stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream), _garbage_collection_paused():
        # Avoid `torch.cuda.graph`, which empties the allocator's cache each time. Other threads may use the device
        # during the capture.
        graph.capture_begin(pool=pool, capture_error_mode="thread_local")
        try:
            results = function()
        finally:
            graph.capture_end()
    torch.cuda.current_stream().wait_stream(stream)
    return graph, results


@contextmanager
def _garbage_collection_paused() -> Iterator[None]:
    """Disables garbage collection, because destroying an old graph would break a capture."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@lru_cache(maxsize=1)
def _capture_stream() -> Any:
    """The common stream of all captures; autograd computes gradients on the stream of the forward pass."""
    return torch.cuda.Stream()  # type: ignore[no-untyped-call]
