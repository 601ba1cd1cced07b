"""What a stage may ask of a model that compares pictures with texts: unit vectors in one space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.backends.capability import Backend, Capability, FloatImage


@runtime_checkable
class SimilarityModel(Backend, Protocol):
    """Turns pictures and texts into vectors whose scalar product says how well they suit each other."""

    def pictures(self, srgb: Sequence[FloatImage]) -> NDArray[np.float32]:
        """(N, D) unit vectors of pictures (H, W, 3) float32 sRGB in [0, 1]."""

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(N, D) unit vectors of texts; one that is too long for the model is cut off."""


SIMILARITY = Capability("similarity", SimilarityModel)
