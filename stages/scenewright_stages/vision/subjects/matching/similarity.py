"""Similarity between the object and a place in an image: by edges, colour pattern and hue.

The search scores all places at once (:class:`PlaceScores`), the fine alignment one place at a time
(:func:`similarity`), with the same measures. Both tolerate a change of light: the pattern ignores per-channel gains,
and hues may differ slightly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from scenewright_stages.vision.subjects.matching.features import Features
from scenewright_stages.vision.subjects.matching.templates import Template
from scenewright_stages.vision.types import Float32Array

_EDGES, _PATTERN, _HUE = 0.5, 0.25, 0.25
_FLAT = 3 * 0.06**2
"""Variance of log colours of what has no pattern."""
_SHADED = 3 * 0.15**2
"""Variance that light adds to a plain surface."""
_HUE_WIDTH = 0.3
_LEAST_VISIBLE = 0.7
_PLAIN = 0.25
"""Strength of the inner edges, of all edges, below which an object counts as plain."""


@dataclass(frozen=True)
class Similarity:
    """Similarity components, each about 1 for the same object and about 0 for unrelated ones.

    Attributes:
        edges: edge directions, including the outline.
        inner: the same without the outline, which many objects share; equal to `edges` for a plain object.
        pattern: of the colours; uninformative for plain places.
        hue: of the mean colours.
    """

    edges: float
    inner: float
    pattern: float
    hue: float

    @property
    def total(self) -> float:
        """The weighted mean."""
        return _EDGES * self.edges + _PATTERN * self.pattern + _HUE * self.hue


def similarity(template: Template, edges: Float32Array, colours: Float32Array) -> Similarity:
    """Similarity of a template to (h, w, 8) edges and (h, w, 3) log colours at its cells."""
    inside, own = template.inside, template.features
    whole, strength = _agreement(own.edges, edges, template.outline)
    inner, inner_strength = _agreement(own.edges, edges, template.deep)
    weights = inside / max(float(inside.sum()), 1e-6)
    mean, own_mean = (np.einsum("hwc,hw->c", each, weights) for each in (colours, own.colours))
    apart, own_apart = colours - mean, own.colours - own_mean
    covariance = float(np.einsum("hwc,hwc,hw->", apart, own_apart, weights))
    varies, own_varies = (float(np.einsum("hwc,hwc,hw->", each, each, weights)) for each in (apart, own_apart))
    return Similarity(
        whole,
        inner if inner_strength > _PLAIN * strength else whole,
        float(_pattern(np.float32(covariance), np.float32(varies), own_varies)),
        float(_hue((mean - own_mean)[None])[0]),
    )


def _agreement(own: Float32Array, edges: Float32Array, weights: Float32Array) -> tuple[float, float]:
    """Weighted cosine similarity of two edge fields, and the mean strength of the first."""
    shared = float(np.einsum("hwc,hwc,hw->", own, edges, weights))
    sizes = [float(np.einsum("hwc,hwc,hw->", each, each, weights)) for each in (own, edges)]
    return shared / max(float(np.sqrt(sizes[0] * sizes[1])), 1e-6), sizes[0] / max(float(weights.sum()), 1e-6)


class PlaceScores:
    """Compares templates with every place in one image by FFT.

    Args:
        features: of the image.
        largest: longest side of any template, in cells.
    """

    def __init__(self, features: Features, largest: int) -> None:
        height, width = features.edges.shape[:2]
        self.shape = (height, width)
        self._size = tuple(fft.next_fast_len(side + largest, real=True) for side in (height, width))
        edges, colours = features.edges, features.colours
        self._edges = self._transformed(edges)
        self._energy = self._transformed(np.einsum("hwc,hwc->hw", edges, edges)[..., None])[0]
        self._colours = self._transformed(colours)
        self._squares = self._transformed(np.einsum("hwc,hwc->hw", colours, colours)[..., None])[0]
        self._everywhere = self._transformed(np.ones((height, width, 1), np.float32))[0]

    def scores(self, template: Template) -> tuple[Float32Array, tuple[int, int]]:
        """(h', w') float32 similarity by the cell of the template's top left corner, and the cell of [0, 0].

        That cell may be negative, because part of the object may lie outside the image.
        """
        own = template.features
        outline = self._transformed(template.outline[..., None])[0]
        inside = self._transformed(template.inside[..., None])[0]
        weighted = self._transformed(own.edges * template.outline[..., None])
        total = max(float(template.inside.sum()), 1e-6)
        own_mean = np.einsum("hwc,hw->c", own.colours, template.inside) / total
        own_apart = own.colours - own_mean
        own_varies = float(np.einsum("hwc,hwc,hw->", own_apart, own_apart, template.inside)) / total
        pattern = self._transformed(own_apart * template.inside[..., None])
        own_energy = self._transformed((template.outline * np.einsum("hwc,hwc->hw", own.edges, own.edges))[..., None])[
            0
        ]

        shared = self._places((self._edges * weighted.conj()).sum(axis=0))
        sizes = self._places(self._energy * outline.conj()) * self._places(self._everywhere * own_energy.conj())
        shown = np.maximum(self._places(self._everywhere * inside.conj()), 1e-3)
        mean = np.stack([self._places(each * inside.conj()) for each in self._colours], axis=-1) / shown[..., None]
        covariance = self._places((self._colours * pattern.conj()).sum(axis=0)) / shown
        squared = self._places(self._squares * inside.conj()) / shown
        varies = np.maximum(squared - np.einsum("hwc,hwc->hw", mean, mean), 0).astype(np.float32)
        found = (
            _EDGES * shared / np.sqrt(np.maximum(sizes, 1e-6))
            + _PATTERN * _pattern(np.asarray(covariance, np.float32), varies, own_varies)
            + _HUE * _hue(mean - own_mean)
        )
        found[shown < _LEAST_VISIBLE * total] = -1
        return self._around(found.astype(np.float32), template.outline.shape)

    def _transformed(self, channels: Float32Array) -> NDArray[np.complex64]:
        """FFT (C, ...) of (h, w, C)."""
        planes = np.ascontiguousarray(np.moveaxis(channels, -1, 0), np.float32)
        return np.asarray(fft.rfft2(planes, self._size), np.complex64)

    def _places(self, product: NDArray[np.complex64]) -> Float32Array:
        return np.asarray(fft.irfft2(product, self._size), np.float32)

    def _around(self, wrapped: Float32Array, template: tuple[int, ...]) -> tuple[Float32Array, tuple[int, int]]:
        """The positions at which most of a template lies in the image; negative ones are stored at the far end."""
        before = (template[0] // 3, template[1] // 3)
        rolled = np.roll(wrapped, before, (0, 1))
        ends = [self.shape[k] + before[k] - template[k] + template[k] // 3 for k in (0, 1)]
        return rolled[: max(ends[0], 1), : max(ends[1], 1)], (-before[0], -before[1])


def _pattern(
    covariance: Float32Array | np.float32, varies: Float32Array | np.float32, own_varies: float
) -> Float32Array:
    """How much of the variation the object's pattern explains; plain objects match plain places."""
    explained = np.maximum(covariance, 0) ** 2 / np.float32(own_varies + _FLAT)
    return np.sqrt((explained + np.float32(_SHADED)) / (varies + np.float32(_SHADED) + np.float32(1e-6))).astype(
        np.float32
    )


def _hue(apart: Float32Array) -> Float32Array:
    """Hue similarity from (..., 3) differences of mean log colours; ignores brightness."""
    hue = apart - apart.mean(axis=-1, keepdims=True)
    return np.asarray(np.exp(-np.einsum("...c,...c->...", hue, hue) / (2 * _HUE_WIDTH**2)), np.float32)
