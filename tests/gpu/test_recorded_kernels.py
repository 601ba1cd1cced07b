"""Replaying recorded kernels gives what calling the functions gives.

PYTHONPATH=stages:operator python -m pytest tests/gpu/test_recorded_kernels.py -s
"""

from __future__ import annotations

import gc

import pytest
import torch

from scenewright_stages.vision.cuda_graphs import GraphRunner, ReplayedCalls

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


class Network:
    """Counts how often it is really called."""

    def __init__(self) -> None:
        self.calls = 0
        self.weight = torch.randn(8, 8, device="cuda")

    def forward(self, *, states: torch.Tensor, scale: torch.Tensor, note: str) -> tuple[torch.Tensor, ...]:
        assert note == "constant"
        self.calls += 1
        return (torch.tanh(states @ self.weight) * scale,)

    def plainly(self, states: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return torch.tanh(states @ self.weight) * scale


@torch.no_grad()
def test_each_size_is_called_twice_and_then_replayed() -> None:
    network = Network()
    replayed = ReplayedCalls(network.forward, sizes=2)
    for turn in range(5):
        for rows in (3, 7):
            states, scale = torch.randn(rows, 8, device="cuda"), torch.tensor(1.0 + turn, device="cuda")
            (found,) = replayed(states=states, scale=scale, note="constant")
            assert torch.allclose(found, network.plainly(states, scale), atol=1e-5)
    assert network.calls == 4
    replayed(states=torch.randn(9, 8, device="cuda"), scale=scale, note="constant")
    (again,) = replayed(states=torch.ones(3, 8, device="cuda"), scale=scale, note="constant")
    assert torch.allclose(again, network.plainly(torch.ones(3, 8, device="cuda"), scale), atol=1e-5)
    assert network.calls == 6, "the oldest size gave way, and is begun again"


def test_what_needs_gradients_is_not_replayed() -> None:
    network = Network()
    replayed = ReplayedCalls(network.forward)
    states = torch.randn(3, 8, device="cuda", requires_grad=True)
    for _ in range(3):
        found = replayed(states=states, scale=torch.tensor(2.0, device="cuda"), note="constant")[0]
        assert found.requires_grad
    assert network.calls == 3


def descend(steps: int, rate: float, recorded: bool) -> torch.Tensor:
    """A least squares fit by Adam, the camera of which is another factor in each step."""
    torch.manual_seed(0)
    target = torch.randn(50, device="cuda")
    leaf = torch.zeros(50, device="cuda", requires_grad=True)
    optimiser = torch.optim.Adam([leaf], lr=rate, fused=True, capturable=True)

    def after() -> None:
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    calls: list[int] = []

    def function(factor: torch.Tensor) -> tuple[torch.Tensor, ...]:
        calls.append(1)
        return leaf * factor, leaf.detach() + 1

    trip = GraphRunner().round_trip(function, after)
    for step in range(steps):
        factor = torch.tensor(1.0 + step % 3, device="cuda")
        product, plus = trip.forward(factor)
        assert torch.equal(plus, leaf.detach() + 1)
        trip.backward(2 * (product - target) * 0.1)
        if not recorded:
            trip = GraphRunner().round_trip(function, after)
    assert len(calls) == (2 if recorded else steps)
    return leaf.detach().clone()


def test_a_recorded_descent_goes_where_the_plain_one_goes() -> None:
    plain, recorded = descend(20, 0.05, False), descend(20, 0.05, True)
    assert torch.allclose(plain, recorded, atol=1e-5)
    assert not torch.allclose(plain, descend(19, 0.05, True), atol=1e-3)


def test_an_old_graph_that_becomes_garbage_does_not_break_a_new_one() -> None:
    circle: list[object] = []

    def double(values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if torch.cuda.is_current_stream_capturing():
            # In a circle nothing but the collector finds the old graph.
            circle.append(list(circle))
            circle[-1].append(circle[-1])  # type: ignore[attr-defined]
            circle.clear()
        # Containers are what makes Python look for garbage.
        kept = [[values] for _ in range(10_000)]
        return (kept[-1][0] * 2,)

    ones = torch.ones(4, device="cuda")
    before = gc.get_threshold()
    gc.set_threshold(50, 2, 2)
    try:
        for _ in range(20):
            old = GraphRunner()
            old(double, ones)
            circle.append(old)
            del old
            (found,) = GraphRunner()(double, ones)
            assert torch.equal(found, 2 * ones)
    finally:
        gc.set_threshold(*before)
