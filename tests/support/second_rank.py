"""A further rank as a process of its own.

`python second_rank.py RENDEZVOUS` adds up and agrees; with CACHE, DATA and WORKSPACE it takes part in a tuning run.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from scenewright_stages.contract.stage import Ranks
from scenewright_stages.difix.team import Team, assembled

SIZES = ((3,), (2, 5), ())


def exchange(team: Team) -> tuple[list[torch.Tensor], float, tuple[bool, ...]]:
    """Sums of tensors, the sum of a number, and what was agreed."""
    tensors = [torch.full(size, 1.0 + team.rank) for size in SIZES]
    team.add_up(tensors)
    return tensors, team.total(0.25 + team.rank), team.agreed(team.leads, not team.leads)


def main(rendezvous: str, *places: str) -> None:
    """Rank 1 of two."""
    ranks = Ranks(1, 2, rendezvous)
    if not places:
        with assembled(ranks, "cpu") as team:
            tensors, total, agreed = exchange(team)
        assert [each.unique().item() for each in tensors] == [3.0] * 3
        assert (total, agreed) == (1.5, (True, False))
        return
    from ranked_tuning import tune

    cache, data, workspace = map(Path, places)
    result = tune(cache, data, workspace, ranks)
    assert not result.outputs, "rank 0 writes, and nobody else"


if __name__ == "__main__":
    main(*sys.argv[1:])
