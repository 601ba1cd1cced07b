"""The processes of one Pod that train a fixer together: each takes its share of every batch, rank 0 decides and writes.

All hold the same weights: they begin from the same state and take the same steps, because gradients are added up over
all of them before a step. One process alone is a team of one, for which nothing is exchanged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import distributed

from scenewright_stages.contract.stage import Ranks

_PATIENCE = timedelta(hours=2)
"""While rank 0 validates, writes a checkpoint or uploads a state, the others wait for it."""

_BUNDLED = 1 << 26


class Team:
    """The processes, as one of them sees them.

    Attributes:
        rank: which one this is, from 0.
        count: how many there are.
        device: of this one.
    """

    def __init__(self, rank: int = 0, count: int = 1, device: str = "cpu") -> None:
        self.rank, self.count, self.device = rank, count, device

    @property
    def leads(self) -> bool:
        """Whether this is the process that validates, decides and writes."""
        return self.rank == 0

    def share(self, batch: int) -> range:
        """Places of a batch that this process works on."""
        return range(self.rank, batch, self.count)

    def add_up(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replaces every tensor by its sum over all processes; bundles are copied while others are on their way."""
        if self.count == 1:
            return
        exchanges = []
        for bundle in bundles([laid_flat(each) for each in tensors], _BUNDLED):
            together = torch.cat(bundle)
            exchanges.append((bundle, together, distributed.all_reduce(together, async_op=True)))
        for bundle, together, exchange in exchanges:
            exchange.wait()
            torch._foreach_copy_(bundle, list(torch.split(together, [each.numel() for each in bundle])))

    def total(self, value: float) -> float:
        """The sum of a number over all processes."""
        if self.count == 1:
            return value
        tensor = torch.tensor([value], dtype=torch.float64, device=self.device)
        self.add_up([tensor])
        return float(tensor.item())

    def agreed(self, *flags: bool) -> tuple[bool, ...]:
        """What rank 0 says, whatever the others do."""
        if self.count == 1:
            return flags
        tensor = torch.tensor(flags, dtype=torch.uint8, device=self.device)
        distributed.broadcast(tensor, src=0)
        return tuple(bool(each) for each in tensor.tolist())


@contextmanager
def assembled(ranks: Ranks, device: str) -> Iterator[Team]:
    """The team of a sample's processes while they work on it.

    Args:
        ranks: as the stage gets them.
        device: of this process; ``cuda`` exchanges through NCCL, else gloo.
    """
    if ranks.count == 1:
        yield Team(device=device)
        return
    kind = "nccl" if device.startswith("cuda") else "gloo"
    if kind == "nccl":
        torch.cuda.set_device(device)
    distributed.init_process_group(kind, ranks.rendezvous, rank=ranks.rank, world_size=ranks.count, timeout=_PATIENCE)
    try:
        yield Team(ranks.rank, ranks.count, device)
    finally:
        distributed.destroy_process_group()


def laid_flat(tensor: torch.Tensor) -> torch.Tensor:
    """(N,) the tensor's own numbers in the order in which they lie in memory; all processes lay theirs out alike.

    Weights of convolutions may lie with their channels last: to flatten them would turn them round in a copy.
    """
    return tensor.permute(sorted(range(tensor.ndim), key=tensor.stride, reverse=True)).view(-1)


def bundles(tensors: Sequence[torch.Tensor], largest: int) -> Iterator[list[torch.Tensor]]:
    """The tensors in groups of at most so many numbers: an exchange takes long to begin, and a copy takes memory."""
    bundle: list[torch.Tensor] = []
    for each in tensors:
        if bundle and sum(one.numel() for one in bundle) + each.numel() > largest:
            yield bundle
            bundle = []
        bundle.append(each)
    if bundle:
        yield bundle


def own_device(device: str, ranks: Ranks) -> str:
    """The device of this process: of several, each further one sees a GPU of its own alone (see ``RankProcesses``)."""
    return f"{device}:0" if device == "cuda" and ranks.count > 1 else device
