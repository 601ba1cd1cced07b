"""Quality gates for training pairs: measures a pair, and rejects it with a named reason if it fails a gate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.contract.errors import SampleRejected
from scenewright_stages.difix.params import GateParams
from scenewright_stages.vision.imaging.metrics import array_psnr, sharpness
from scenewright_stages.vision.types import Mask, Uint8Array

FLAT_LEVELS = 3.0
"""A picture whose levels deviate less than this from their mean shows nothing."""
LEAST_COUNTED = 0.05
"""Least share of valid pixels of a photograph that is compared with anything."""
_SHIFT = 2
_DETAIL = (1 / 96, 1 / 16)
"""Between these shares of a picture's width lie the structures that two views of one place have in common: finer ones
are lost in artefacts, coarser ones (a dark floor, a bright sky) are alike at any place."""
_COMMON = 0.1
"""Least share of a picture on which structures are compared."""


@dataclass(frozen=True)
class Measured:
    """Measurements of a pair.

    Attributes:
        psnr: of the render, dB.
        shift_gain: gain in dB of the best shift by up to two pixels.
        sharpness: of the target, relative to the median of its capture.
        coverage: covered share of the render.
        agreement: correlation of the target's structure with that of the render or of the warped reference, the larger
            of the two.
    """

    psnr: float
    shift_gain: float
    sharpness: float
    coverage: float
    agreement: float

    def to_json(self) -> dict[str, Any]:
        """Rounded numbers."""
        return {name: round(value, 4) for name, value in vars(self).items()}


@dataclass(frozen=True, eq=False)
class Candidate:
    """A pair before the gates.

    Attributes:
        render: (H, W, 3) float32, as rendered.
        alpha: (H, W) float32 coverage.
        target, reference: (H, W, 3) uint8 photographs.
        warped: (H, W, 3) float32, the reference warped into the target's camera.
        valid: (H, W) bool, where the warp has content.
        counted: (H, W) bool, the target's pixels that count; None if all do.
    """

    render: NDArray[np.float32]
    alpha: NDArray[np.float32]
    target: Uint8Array
    reference: Uint8Array
    warped: NDArray[np.float32]
    valid: NDArray[np.bool_]
    counted: Mask | None = None


def measure(pair: Candidate, usual_sharpness: float, gates: GateParams) -> Measured:
    """The measurements of a pair that passes.

    Args:
        pair: the candidate.
        usual_sharpness: median :func:`sharpness` of the capture's photographs.
        gates: the thresholds.

    Raises:
        SampleRejected: a gate refuses it; reasons Masked, NotFinite, Flat, ReferenceIsTarget, Uncovered, TooFar,
            Foreign, Blurred, TooGood, Misregistered.
    """
    render, alpha, target, reference = pair.render, pair.alpha, pair.target, pair.reference
    counted = np.ones(alpha.shape, np.bool_) if pair.counted is None else pair.counted
    if counted.mean() < LEAST_COUNTED:
        raise SampleRejected(
            "Masked", f"{counted.mean():.1%} of the target's pixels are valid, at least {LEAST_COUNTED:.0%} are needed"
        )
    if not (np.isfinite(render).all() and np.isfinite(alpha).all()):
        raise SampleRejected("NotFinite", "the render holds values that are not finite")
    for name, picture in (("target", target.astype(np.float32)), ("render", render * 255), ("reference", reference)):
        levels = np.asarray(picture, np.float32)
        if float((levels if pair.counted is None or name == "reference" else levels[counted]).std()) < FLAT_LEVELS:
            raise SampleRejected("Flat", f"the {name} shows nothing: its levels hardly differ")
    if target.shape == reference.shape and np.array_equal(target, reference):
        raise SampleRejected("ReferenceIsTarget", "reference and target are the same picture")
    covered = float((alpha > 0.5)[counted].mean())
    if covered < gates.coverage:
        raise SampleRejected("Uncovered", f"{covered:.0%} of the render is covered, at least {gates.coverage:.0%}")
    sharp = sharpness(target, pair.counted) / max(usual_sharpness, 1e-9)
    truth = (target / 255).astype(np.float32)
    gain = shift_gain(render, truth, pair.counted)
    found = Measured(array_psnr(render, truth, pair.counted), gain, sharp, covered, agreement(pair, truth))
    if found.psnr < gates.psnr[0]:
        raise SampleRejected("TooFar", f"{found.psnr:.1f} dB: the render shows something else")
    if found.agreement < gates.agreement:
        raise SampleRejected(
            "Foreign",
            f"the target agrees with render and warped reference by {found.agreement:.2f} at most: it shows another "
            "place, or its pose is wrong",
        )
    # Checked after agreement, because a foreign photograph may simply have less detail.
    if sharp < gates.blur:
        raise SampleRejected("Blurred", f"the target has {sharp:.0%} of its capture's usual sharpness")
    if found.psnr > gates.psnr[1]:
        raise SampleRejected("TooGood", f"{found.psnr:.1f} dB: there is nothing to learn")
    if gain > gates.registration:
        raise SampleRejected("Misregistered", f"a shift of the render gains {gain:.2f} dB: its pose is off")
    return found


def agreement(pair: Candidate, truth: NDArray[np.float32]) -> float:
    """How well the target's structure correlates with what is known of the same view, from -1 to 1.

    A photograph of a different but similar place may have the same colours and pass on PSNR, but its structure lies
    elsewhere. The render may be too flawed to tell, and the reference may see too little, so the better of the two
    counts.

    Args:
        pair: render, coverage and warped reference.
        truth: (H, W, 3) float32, the target.
    """
    sources = [(pair.render, pair.alpha > 0.5), (pair.warped, pair.valid)]
    if pair.counted is not None:
        sources = [(picture, mask & pair.counted) for picture, mask in sources]
    usable = [(picture, mask) for picture, mask in sources if float(mask.mean()) >= _COMMON]
    return max((correlation(picture, truth, mask) for picture, mask in usable), default=0.0)


def correlation(first: NDArray[np.float32], second: NDArray[np.float32], mask: NDArray[np.bool_]) -> float:
    """Correlation of two images' band-pass structure within the mask."""
    weight = mask.astype(np.float32)[..., None]
    fine, coarse = (share * mask.shape[1] for share in _DETAIL)

    def structure(picture: NDArray[np.float32]) -> NDArray[np.float32]:
        smooth = _blurred(picture, fine)
        around = _blurred(smooth * weight, coarse) / (_blurred(weight, coarse) + 1e-6)
        return np.asarray((smooth - around) * weight, np.float32)

    a, b = structure(first), structure(second)
    return float(np.vdot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b) + 1e-9))


def _blurred(picture: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    found = np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.float32)
    return found.reshape(picture.shape)


def shift_gain(render: NDArray[np.float32], truth: NDArray[np.float32], counted: Mask | None = None) -> float:
    """PSNR gain in dB of shifting the render by up to two pixels; 0 if no shift improves it."""
    inner = truth[_SHIFT:-_SHIFT, _SHIFT:-_SHIFT]
    mask = None if counted is None else counted[_SHIFT:-_SHIFT, _SHIFT:-_SHIFT]
    if mask is not None and not mask.any():
        return 0.0
    height, width = inner.shape[:2]
    scores = {
        (down, right): array_psnr(
            np.ascontiguousarray(render[down : down + height, right : right + width]), inner, mask
        )
        for down in range(2 * _SHIFT + 1)
        for right in range(2 * _SHIFT + 1)
    }
    return max(scores.values()) - scores[_SHIFT, _SHIFT]
