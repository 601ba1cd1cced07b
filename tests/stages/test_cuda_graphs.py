"""Where nothing can be recorded, functions are simply called."""

from __future__ import annotations

import torch

from scenewright_stages.vision.cuda_graphs import ReplayedCalls, graph_runner


def test_on_a_cpu_every_call_of_a_network_is_made() -> None:
    seen: list[int] = []

    def forward(*, states: torch.Tensor, factor: float) -> tuple[torch.Tensor, ...]:
        seen.append(len(states))
        return (states * factor,)

    replayed = ReplayedCalls(forward)
    for turn in range(4):
        (found,) = replayed(states=torch.full((3,), float(turn)), factor=2.0)
        assert found.tolist() == [2.0 * turn] * 3
    assert seen == [3] * 4


def test_a_round_trip_on_a_cpu_continues_with_the_gradients_of_each_call() -> None:
    leaf, taken = torch.ones(3, requires_grad=True), []

    def after() -> None:
        assert leaf.grad is not None
        taken.append(leaf.grad.tolist())
        leaf.grad = None

    with graph_runner(torch.device("cpu")) as run:
        trip = run.round_trip(lambda factor: (leaf.detach() + 1, leaf * factor), after)
        for factor in (2.0, 5.0):
            plus, product = trip.forward(torch.tensor(factor))
            assert not product.requires_grad and plus.tolist() == [2.0] * 3
            trip.backward(torch.tensor([1.0, 0.0, -1.0]))
    assert taken == [[2.0, 0.0, -2.0], [5.0, 0.0, -5.0]]
