"""Stage 3: the albedo in a new light, and the truth about that light."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.backends.chain import BackendChain
from scenewright_stages.backends.normals.interface import NORMALS
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import Pixels, Stage, StageContext, StageInputs, StageResult
from scenewright_stages.photographs.pictures import (
    bytes_from_linear,
    linear_from_bytes,
    one_thread_each,
    read_rgb,
    read_rgba,
    unit_from_bytes,
    write_json,
)
from scenewright_stages.relight.lighting import Draw, drawn, normalised
from scenewright_stages.relight.params import RelightParams
from scenewright_stages.vision.shading import shade

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


class DegradeStage(Stage[RelightParams]):
    """Shades the person in a new light."""

    def __init__(self, context: StageContext[RelightParams]) -> None:
        super().__init__(context)
        one_thread_each()
        name, block = self.params.normal_method(), self.params.normals
        options = {**block.options(), "steps": block.steps or None, "detail": block.detail}
        self.chain = BackendChain(NORMALS, (name,), context.models, options, block.variant)

    def process(self, sample: Sample, inputs: StageInputs[RelightParams]) -> StageResult:
        """Writes the person in the new light, black where no person is, and the light."""
        photograph, alpha = read_rgba(inputs.path("segment", "layers"))
        albedo = read_rgb(inputs.path("albedo", "albedo"))
        srgb, matte = unit_from_bytes(photograph), unit_from_bytes(alpha)
        normals, use = self.chain.call(lambda backend: backend.estimate(srgb, matte))
        draw = drawn(self.params.degradation, inputs.seed)
        degraded = relit(albedo, alpha, normals, draw)
        truth = {
            **draw.as_dict(),
            "weights": normalised(self.params.degradation.weights),
            "seed": inputs.seed,
            "normals": use.to_json(),
            "space": "linear light; direction toward the light in the camera's frame (x right, y down, z forward)",
        }
        light = write_json(inputs.workspace / "params.json", truth)
        outputs: dict[str, Any] = {"degraded": Pixels(degraded), "params": light}
        if self.params.keeps("stage_3"):
            # Pixels of their own: what is kept is compressed, what the next stage reads is not.
            outputs |= {"kept_degraded": Pixels(degraded), "kept_params": light}
        return StageResult(outputs, _metrics(draw, photograph, degraded, alpha), (), [use])


def relit(albedo: Bytes, alpha: Bytes, normals: Floats, draw: Draw) -> Bytes:
    """(H, W, 3) uint8 sRGB: the person in the new light; black where alpha is 0.

    Args:
        albedo: (H, W, 3) uint8 sRGB.
        alpha: (H, W) uint8.
        normals: (H, W, 3) float32 unit vectors, camera frame.
        draw: the light.
    """
    left, top, width, height = cv2.boundingRect(alpha)
    window = np.s_[top : top + height, left : left + width]
    shadow = None if draw.shadow is None else np.ascontiguousarray(draw.shadow.arrives(alpha.shape)[window])
    shaded = shade(
        linear_from_bytes(np.ascontiguousarray(albedo[window])),
        np.ascontiguousarray(normals[window]),
        draw.light,
        shadow,
    )
    out = np.zeros_like(albedo)
    out[window] = cv2.copyTo(bytes_from_linear(shaded), np.ascontiguousarray(alpha[window]))
    return out


def light_change(photograph: Bytes, degraded: Bytes, alpha: Bytes) -> float:
    """Mean difference of the relit person from the photographed one, in levels of 255."""
    difference = cv2.mean(cv2.absdiff(photograph, degraded), alpha)
    return round(sum(difference[:3]) / 3, 3)


def _metrics(draw: Draw, photograph: Bytes, degraded: Bytes, alpha: Bytes) -> dict[str, Any]:
    return {**draw.as_dict(), "light_change": light_change(photograph, degraded, (alpha == 255).view(np.uint8))}
