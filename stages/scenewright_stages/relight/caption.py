"""Stage 4: captions the lighting of the person, from the light's parameters or by a vision model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scenewright_stages.backends.caption.interface import CAPTION, Captioner
from scenewright_stages.backends.runtime.chain import BackendChain
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import BackendUse, Stage, StageContext, StageInputs, StageResult
from scenewright_stages.photographs.pictures import one_thread_each, read_rgb, write_json
from scenewright_stages.relight.params import RelightParams
from scenewright_stages.relight.shading import Light

KNOWN = BackendUse("caption", "classic", notes="Said from the light that was put on, not seen in the picture.")
FRONTAL_DEGREES = 65.0
"""A light that stands so high over the image plane has no side."""
_SIDES = ("right", "upper right", "top", "upper left", "left", "lower left", "bottom", "lower right")
CLEAR_EDGE = 0.05
"""Softness below which a pattern's edges are seen as such."""
_SHADOWS = {"perlin": "dappled shadow", "geometric": "shadows of bars, walls or leaves", "blob": "large shadows"}


class CaptionStage(Stage[RelightParams]):
    """Adds a caption to the metadata."""

    def __init__(self, context: StageContext[RelightParams]) -> None:
        super().__init__(context)
        one_thread_each()
        block = self.params.caption
        self.chain: BackendChain[Captioner] | None = None
        if block.backend != "classic":
            self.chain = BackendChain(CAPTION, (block.backend,), context.models, block.options(), block.variant)

    def process(self, sample: Sample, inputs: StageInputs[RelightParams]) -> StageResult:
        """Writes the metadata with the caption."""
        metadata = json.loads(inputs.path("recombine", "metadata").read_text(encoding="utf-8"))
        text, use = self._caption(metadata, inputs)
        metadata["caption"] = {"text": text, **use.to_json()}
        outputs = {"metadata": write_json(inputs.workspace / "metadata.json", metadata)}
        return StageResult(outputs, {"text": text}, (), [use])

    def _caption(self, metadata: Mapping[str, Any], inputs: StageInputs[RelightParams]) -> tuple[str, BackendUse]:
        if self.chain is None:
            return light_sentence(metadata), KNOWN
        srgb = read_rgb(inputs.path("recombine", "output")).astype(np.float32) * np.float32(1 / 255)
        instruction = self.params.caption.instruction
        return self.chain.call(lambda backend: backend.caption(srgb, instruction))


def light_sentence(truth: Mapping[str, Any]) -> str:
    """Describes a light in words: contrast, hardness, colour, side, highlight, shadow, brightness.

    Args:
        truth: a pair's ``params.json``.
    """
    light, shadow = truth["light"], truth["shadow"]
    kinds = [_contrast(light["ambient"]), _hardness(light["hardness"]), _warmth(light["colour_linear"])]
    parts = [f"A person in {', '.join(filter(None, kinds))} light from {_side(light)}"]
    if light["second_strength"] > 0:
        parts.append(f"with a weaker light from {_side_of(light['second_direction'])}")
    if light["specular"] > 0:
        parts.append("with a highlight")
    if shadow is not None:
        edge = "clear-edged" if shadow["softness"] < CLEAR_EDGE else "soft-edged"
        parts.append(f"under {edge} {_SHADOWS[shadow['pattern']]}")
    parts.append(_brightness(truth["luminance_ratio"]))
    return ", ".join(filter(None, parts)) + "."


def _side(light: Mapping[str, Any]) -> str:
    if light["elevation_degrees"] >= FRONTAL_DEGREES:
        return "the front"
    return f"the {_SIDES[round(light['azimuth_degrees'] / 45.0) % len(_SIDES)]}"


def _side_of(direction: Sequence[float]) -> str:
    light = Light((direction[0], direction[1], direction[2]))
    return _side({"elevation_degrees": light.elevation_degrees, "azimuth_degrees": light.azimuth_degrees})


def _contrast(ambient: float) -> str:
    if ambient >= 0.75:
        return "even"
    return "low-contrast" if ambient >= 0.5 else "contrasty"


def _hardness(hardness: float) -> str:
    if hardness >= 0.75:
        return "hard"
    return "" if hardness >= 0.4 else "soft"


def _warmth(colour: list[float]) -> str:
    red, _, blue = colour
    if red - blue > 0.08:
        return "warm"
    return "cool" if blue - red > 0.08 else ""


def _brightness(ratio: float) -> str:
    if ratio >= 1.1:
        return "brighter than photographed"
    return "darker than photographed" if ratio <= 0.9 else ""
