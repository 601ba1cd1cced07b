"""Interface of models that embed images and texts as unit vectors in one space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.backends.runtime.capability import Backend, Capability
from scenewright_stages.vision.types import Float32Array


@runtime_checkable
class SimilarityModel(Backend, Protocol):
    """Embeds images and texts; the dot product of two embeddings is their similarity."""

    def pictures(self, srgb: Sequence[Float32Array]) -> NDArray[np.float32]:
        """(N, D) unit vectors of images (H, W, 3) float32 sRGB in [0, 1]."""

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(N, D) unit vectors of texts; truncates texts that are too long for the model."""


SIMILARITY = Capability("similarity", SimilarityModel)
