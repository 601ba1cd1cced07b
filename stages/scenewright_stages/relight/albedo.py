"""Stage 2: estimates the albedo, the person without lighting."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from scenewright_stages.backends.albedo.interface import ALBEDO, AlbedoEstimator
from scenewright_stages.backends.runtime.chain import BackendChain
from scenewright_stages.backends.runtime.errors import BackendContractError
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import Pixels, Stage, StageContext, StageInputs, StageResult
from scenewright_stages.photographs.pictures import (
    bytes_from_linear,
    linear_from_bytes,
    linear_from_unit,
    one_thread_each,
    read_rgba,
    unit_from_bytes,
    write_json,
)
from scenewright_stages.relight.params import AlbedoParams, RelightParams
from scenewright_stages.vision.types import Float32Array, Uint8Array


class AlbedoStage(Stage[RelightParams]):
    """Estimates the albedo of the person at full size."""

    def __init__(self, context: StageContext[RelightParams]) -> None:
        super().__init__(context)
        one_thread_each()
        block, names = self.params.albedo, self.params.albedo_methods()
        options = {
            **block.options(),
            "scales": tuple(block.scales),
            "chroma": block.chroma,
            "steps": block.steps or None,
        }
        self.chain = BackendChain(ALBEDO, names, context.models, options, block.variant)

    def process(self, sample: Sample, inputs: StageInputs[RelightParams]) -> StageResult:
        """Writes the albedo, black outside the person."""
        photograph, alpha = read_rgba(inputs.path("segment", "layers"))
        blend = drawn_blend(self.params.albedo, inputs.seed)

        def estimate(backend: AlbedoEstimator) -> Uint8Array:
            srgb, matte = unit_from_bytes(photograph), unit_from_bytes(alpha)
            return blended(checked(backend.estimate(srgb, matte, inputs.seed)[0], alpha), photograph, blend, alpha)

        albedo, use = self.chain.call(estimate)
        facts = {**use.to_json(), "blend": round(blend, 6)}
        made = Pixels(albedo)
        outputs: dict[str, Any] = {"albedo": made, "facts": write_json(inputs.workspace / "albedo.json", facts)}
        if self.params.keeps("stage_2"):
            outputs["kept_albedo"] = made
        brightness = float(cv2.mean(albedo, alpha)[1])
        return StageResult(outputs, {"blend": round(blend, 4), "brightness": round(brightness, 2)}, (), [use])


def drawn_blend(params: AlbedoParams, seed: int) -> float:
    """Share of the photograph to blend into one sample's albedo."""
    low, high = params.blend_range
    return float(np.random.default_rng(seed).uniform(low, high))


def checked(albedo_srgb: Float32Array, alpha: Uint8Array) -> Float32Array:
    """Returns the estimate after validation.

    Raises:
        BackendContractError: wrong size, not finite, or one flat colour over the whole person.
    """
    if albedo_srgb.shape != (*alpha.shape, 3):
        raise BackendContractError(f"the albedo has the shape {albedo_srgb.shape}, the image {alpha.shape}")
    if not np.isfinite(albedo_srgb.sum()):
        raise BackendContractError("the albedo is not finite everywhere")
    least, greatest, *_ = cv2.minMaxLoc(np.ascontiguousarray(albedo_srgb[..., 1]), alpha)
    if greatest - least < 1 / 255:
        raise BackendContractError("the albedo is one flat colour")
    return albedo_srgb


def blended(albedo_srgb: Float32Array, photograph: Uint8Array, share: float, alpha: Uint8Array) -> Uint8Array:
    """(H, W, 3) uint8 sRGB: the albedo blended with a share of the photograph in linear light; black outside."""
    left, top, width, height = cv2.boundingRect(alpha)
    window = np.s_[top : top + height, left : left + width]
    mixed = linear_from_unit(albedo_srgb[window])
    light = linear_from_bytes(np.ascontiguousarray(photograph[window]))
    mixed *= np.float32(1.0 - share)
    light *= np.float32(share)
    mixed += light
    out = np.zeros_like(photograph)
    out[window] = cv2.copyTo(bytes_from_linear(mixed), np.ascontiguousarray(alpha[window]))
    return out
