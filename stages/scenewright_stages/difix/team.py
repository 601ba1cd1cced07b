"""The processes of one Pod that train a fixer together: each takes its share of every batch, rank 0 decides and writes.

All hold the same weights: they begin from the same state and take the same steps, because gradients are added up over
all of them before a step. One process alone is a team of one, for which nothing is exchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import compress
from operator import not_

import torch
from torch import distributed

from scenewright_stages.contract.stage import Ranks

_PATIENCE = timedelta(hours=2)
"""While rank 0 validates, writes a checkpoint or uploads a state, the others wait for it."""

_BUNDLED = 1 << 26

Exchange = tuple[list[torch.Tensor], Callable[[], torch.Tensor]]
"""A bundle, and what waits for the sum of its numbers over all processes."""


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

    def add_up(self, tensors: Sequence[torch.Tensor], narrow: bool = False) -> None:
        """Replaces every tensor by its sum over all processes; bundles are copied while others are on their way.

        Args:
            tensors: on this process; all processes give tensors of the same sizes.
            narrow: matrices hold numbers of bfloat16's precision. They are exchanged as such, which halves the traffic
                and loses nothing, and added up in their own precision.
        """
        if self.count == 1:
            return
        flat = [laid_flat(each) for each in tensors]
        wide = [each.ndim < 2 or not narrow for each in tensors]
        exchanges = [
            *(self._summed(each) for each in bundles(list(compress(flat, wide)), _BUNDLED)),
            *(self._gathered(each) for each in bundles(list(compress(flat, map(not_, wide))), _BUNDLED)),
        ]
        for bundle, finish in exchanges:
            torch._foreach_copy_(bundle, list(torch.split(finish(), [each.numel() for each in bundle])))

    def _summed(self, bundle: list[torch.Tensor]) -> Exchange:
        """Begins to add a bundle up."""
        together = torch.cat(bundle)
        under_way = distributed.all_reduce(together, async_op=True)
        assert under_way is not None

        def finish() -> torch.Tensor:
            under_way.wait()
            return together

        return bundle, finish

    def _gathered(self, bundle: list[torch.Tensor]) -> Exchange:
        """Begins to send a bundle's numbers to all as bfloat16."""
        sizes = [each.numel() for each in bundle]
        own = torch.empty(sum(sizes), dtype=torch.bfloat16, device=bundle[0].device)
        torch._foreach_copy_(list(torch.split(own, sizes)), bundle)
        shares = own.new_empty(self.count, own.numel())
        # As bytes: not every kind of exchange knows bfloat16.
        under_way = distributed.all_gather_into_tensor(
            shares.view(torch.uint8).view(-1), own.view(torch.uint8), async_op=True
        )

        assert under_way is not None

        def finish() -> torch.Tensor:
            under_way.wait()
            total = shares[0].to(bundle[0].dtype)
            for each in shares[1:]:
                total += each
            return total

        return bundle, finish

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
