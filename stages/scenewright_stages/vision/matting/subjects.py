"""What cutting out a subject gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.contract.errors import SampleRejected


@dataclass(frozen=True, eq=False)
class SubjectMatte:
    """Where the subject is.

    Attributes:
        alpha: (H, W) float32 in [0, 1], soft matte at the image's size; exactly 0 and 1 away from the outline.
        mask: (H, W) bool, ``alpha >= 0.5``.
        score: in [0, 1], how sure the method is; comparable within one method only.
        method: what found it, such as ``classic-face`` or ``classic-box``.
    """

    alpha: NDArray[np.float32]
    mask: NDArray[np.bool_]
    score: float
    method: str


class NoSubject(SampleRejected):
    """The subject is not in the picture, or does not stand out from it."""

    def __init__(self, message: str) -> None:
        super().__init__("no-subject", message)
