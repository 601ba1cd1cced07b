"""Chooses the size and the length of a training by the number of photographs.

Few photographs determine few Gaussians, and a long training on them learns the photographs by heart: every further step
makes the scene worse from elsewhere. So some training views are set aside first, and a training on the others shows how
long they gain. Then all views train for that length. Pure decisions; `reconstruct.train` runs them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MANY_VIEWS = 60
"""So many views determine a scene: none is set aside, and the training has its full length."""
_FEWEST_VIEWS = 5
"""Fewer views cannot spare any."""
_SET_ASIDE = 6
"""One of so many views is set aside."""
_DEGREE_VIEWS = ((6, 0), (MANY_VIEWS, 1))
"""Below so many views, the largest degree of the harmonics."""
LARGEST_ANGLE = 0.1
"""Where few views train, the largest standard deviation of a Gaussian in radians as the nearest camera sees it. Larger
ones hang between the views as veils: without a limit, rooms lose 0.5 dB from elsewhere where photographs look."""
_LOSS = 0.5
"""In dB, what validation views must lose until the end for a shorter training. They are few and have fewer neighbours
than all views: on a beach they lost 0.3 dB after 200 steps, and held-out photographs gained 0.6 dB by the end."""
_GAIN = 0.01
"""Of validation views in dB that justifies a longer training among shorter ones."""


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
    """The whole length, unless it is clearly worse than a shorter one; then the shortest of the best.

    Raises:
        ValueError: the curve is empty.
    """
    top = max(point.psnr for point in curve)
    if curve[-1].psnr >= top - _LOSS:
        return curve[-1]
    return next(point for point in curve if point.psnr >= top - _GAIN)
