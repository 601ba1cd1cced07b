"""Data-parallel training of a fixer in one Pod: each process takes a share of every batch; rank 0 decides and writes.

All processes hold the same weights: they start from the same state, and gradients are summed over all of them before
each step. A single process is a team of one and exchanges nothing.
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
    """The team, as seen by one process.

    Attributes:
        rank: of this process, from 0.
        count: number of processes.
        device: of this process.
    """

    def __init__(self, rank: int = 0, count: int = 1, device: str = "cpu") -> None:
        self.rank, self.count, self.device = rank, count, device

    @property
    def leads(self) -> bool:
        """Whether this is the process that validates, decides and writes."""
        return self.rank == 0

    def share(self, batch: int) -> range:
        """Positions in a batch that this process handles."""
        return range(self.rank, batch, self.count)

    def add_up(self, tensors: Sequence[torch.Tensor]) -> None:
        """All-reduces every tensor in place; copies one bundle while others are in flight."""
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
        """Broadcasts rank 0's flags."""
        if self.count == 1:
            return flags
        tensor = torch.tensor(flags, dtype=torch.uint8, device=self.device)
        distributed.broadcast(tensor, src=0)
        return tuple(bool(each) for each in tensor.tolist())


@contextmanager
def assembled(ranks: Ranks, device: str) -> Iterator[Team]:
    """Sets up the process group for one sample and tears it down afterwards.

    Args:
        ranks: from the stage's inputs.
        device: of this process; ``cuda`` uses NCCL, others gloo.
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
    """(N,) view of the tensor's elements in memory order, which is the same in all processes.

    Convolution weights may be channels-last; flattening those would reorder and copy them.
    """
    return tensor.permute(sorted(range(tensor.ndim), key=tensor.stride, reverse=True)).view(-1)


def bundles(tensors: Sequence[torch.Tensor], largest: int) -> Iterator[list[torch.Tensor]]:
    """Groups tensors into bundles of at most `largest` elements, to save both latency (few exchanges) and memory."""
    bundle: list[torch.Tensor] = []
    for each in tensors:
        if bundle and sum(one.numel() for one in bundle) + each.numel() > largest:
            yield bundle
            bundle = []
        bundle.append(each)
    if bundle:
        yield bundle


def own_device(device: str, ranks: Ranks) -> str:
    """The device of this process; each further rank sees only its own GPU (see ``RankProcesses``)."""
    return f"{device}:0" if device == "cuda" and ranks.count > 1 else device
