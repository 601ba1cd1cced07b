"""Interface of fixers, which remove artefacts from renders.

Images are float32 sRGB in [0, 1]. The conditions of a render (coverage, warped reference) may be missing; a fixer must
then work without them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.backends.runtime.capability import Backend, Capability
from scenewright_stages.backends.runtime.errors import BackendContractError
from scenewright_stages.vision.types import Float32Array


@dataclass(frozen=True, eq=False)
class FlawedView:
    """A render with artefacts, and its conditions.

    Attributes:
        srgb: (H, W, 3) the render.
        alpha: (H, W) its coverage.
        warped: (H, W, 3) the reference warped into the render's camera, 0 where `valid` is False.
        valid: (H, W) bool.
        reference: (H', W', 3) the reference photograph, if any.
    """

    srgb: Float32Array
    alpha: Float32Array
    warped: Float32Array
    valid: NDArray[np.bool_]
    reference: Float32Array | None = None

    @classmethod
    def alone(cls, srgb: Float32Array) -> FlawedView:
        """A render without conditions."""
        shape = srgb.shape[:2]
        return cls(srgb, np.ones(shape, np.float32), np.zeros_like(srgb), np.zeros(shape, np.bool_))


@runtime_checkable
class Fixer(Backend, Protocol):
    """Removes artefacts from renders."""

    def fix(self, view: FlawedView, seed: int = 0) -> Float32Array:
        """The repaired render, (H, W, 3) in [0, 1].

        Raises:
            BackendContractError: the result is not finite or has the wrong shape.
        """


FIX = Capability("fix", Fixer)


def check_fixed(fixed: Float32Array, view: FlawedView) -> Float32Array:
    """The result clipped to [0, 1]. Raises BackendContractError unless it is finite and has the render's size."""
    if fixed.shape != view.srgb.shape or not np.isfinite(fixed).all():
        raise BackendContractError(f"the fixed render {fixed.shape} does not fit {view.srgb.shape} or is not finite")
    return np.clip(fixed, 0, 1).astype(np.float32)
