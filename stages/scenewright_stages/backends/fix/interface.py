"""What a stage may ask of a fixer: a render without its artefacts.

Images are float32 sRGB in [0, 1]. What is known beside the render (coverage, the reference as the render's camera would
see it) may be missing; a fixer then does without.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.backends.capability import Backend, Capability, FloatImage
from scenewright_stages.backends.errors import BackendContractError


@dataclass(frozen=True, eq=False)
class FlawedView:
    """A render with artefacts, and what is known of it.

    Attributes:
        srgb: (H, W, 3) the render.
        alpha: (H, W) how far it is covered.
        warped: (H, W, 3) the reference as the render's camera would see it, 0 where `valid` is False.
        valid: (H, W) bool.
        reference: (H', W', 3) the photograph itself; None when there is none.
    """

    srgb: FloatImage
    alpha: FloatImage
    warped: FloatImage
    valid: NDArray[np.bool_]
    reference: FloatImage | None = None

    @classmethod
    def alone(cls, srgb: FloatImage) -> FlawedView:
        """A render of which nothing else is known."""
        shape = srgb.shape[:2]
        return cls(srgb, np.ones(shape, np.float32), np.zeros_like(srgb), np.zeros(shape, np.bool_))


@runtime_checkable
class Fixer(Backend, Protocol):
    """Takes artefacts off renders."""

    def fix(self, view: FlawedView, seed: int = 0) -> FloatImage:
        """The render without its artefacts, (H, W, 3) in [0, 1].

        Raises:
            BackendContractError: the answer is not finite or of another shape.
        """


FIX = Capability("fix", Fixer)


def check_fixed(fixed: FloatImage, view: FlawedView) -> FloatImage:
    """The answer clipped to [0, 1]. Raises BackendContractError unless it is finite and as large as the render."""
    if fixed.shape != view.srgb.shape or not np.isfinite(fixed).all():
        raise BackendContractError(f"the fixed render {fixed.shape} does not fit {view.srgb.shape} or is not finite")
    return np.clip(fixed, 0, 1).astype(np.float32)
