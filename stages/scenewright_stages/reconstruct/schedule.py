"""Chooses the size and the length of a training by the number of photographs.

Few photographs determine few Gaussians, and a long training on them learns the photographs by heart: every further step
makes the scene worse from elsewhere. So some training views are set aside first, and a training on the others shows how
long they gain. Then all views train for that length. Pure decisions; `reconstruct.train` runs them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

PATIENCE = 3
"""Segments without a gain after which the first training ends."""
MANY_VIEWS = 60
"""So many views determine a scene: none is set aside, and the training has its full length."""
_FEWEST_VIEWS = 5
"""Fewer views cannot spare any."""
_SET_ASIDE = 6
"""One of so many views is set aside."""
_DEGREE_VIEWS = ((6, 0), (MANY_VIEWS, 1))
"""Below so many views, the largest degree of the harmonics."""
_GAIN = 0.01
"""Of validation views in dB that justifies a longer training."""


@dataclass(frozen=True)
class Point:
    """A point of the validation curve: the mean PSNR in dB of the views that were set aside, after some steps."""

    steps: int
    psnr: float


def set_aside(views: int) -> tuple[int, ...]:
    """The numbers of the training views that decide how long to train; none where few or many views train."""
    if not _FEWEST_VIEWS <= views < MANY_VIEWS:
        return ()
    return tuple(range(_SET_ASIDE // 2, views, _SET_ASIDE))


def degree(views: int, largest: int) -> int:
    """Degree of the harmonics that so many views determine."""
    return next((min(largest, bound) for fewer, bound in _DEGREE_VIEWS if views < fewer), largest)


def best(curve: Sequence[Point]) -> Point:
    """The shortest training that is within a hundredth of a dB of the best. Raises ValueError for an empty curve."""
    top = max(point.psnr for point in curve)
    return next(point for point in curve if point.psnr >= top - _GAIN)


def exhausted(curve: Sequence[Point]) -> bool:
    """Whether further steps are unlikely to gain."""
    return bool(curve) and len(curve) - 1 - curve.index(best(curve)) >= PATIENCE
