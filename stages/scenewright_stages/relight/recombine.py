"""Stage 3.5: composites the relit person over the background, and writes the pair's metadata."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import Pixels, Stage, StageContext, StageInputs, StageResult
from scenewright_stages.photographs.compositing import GREY_LEVEL, background_of, composite, plain_background
from scenewright_stages.photographs.pictures import one_thread_each, read_rgb, read_rgba, write_json
from scenewright_stages.relight.params import Background, HeldOutParams, RelightParams
from scenewright_stages.vision.types import Uint8Array

LEVELS: dict[Background, int] = {"gray": GREY_LEVEL, "black": 0}


class RecombineStage(Stage[RelightParams]):
    """Composites, and writes the metadata."""

    def __init__(self, context: StageContext[RelightParams]) -> None:
        super().__init__(context)
        one_thread_each()

    def process(self, sample: Sample, inputs: StageInputs[RelightParams]) -> StageResult:
        """Writes the relit image and its metadata."""
        whole, alpha = read_rgba(inputs.path("segment", "layers"))
        degraded = read_rgb(inputs.path("degrade", "degraded"))
        output = composite(degraded, self._background(inputs, whole, alpha), alpha)
        made = Pixels(output)
        metadata = self._metadata(sample, inputs)
        outputs: dict[str, Any] = {
            "output": made,
            "metadata": write_json(inputs.workspace / "metadata.json", metadata),
        }
        if self.params.keeps("stage_3_5"):
            outputs["kept_composite"] = made
        return StageResult(outputs, {name: metadata[name] for name in ("photograph", "person", "split")})

    def _background(self, inputs: StageInputs[RelightParams], whole: Uint8Array, alpha: Uint8Array) -> Uint8Array:
        if self.params.background != "original":
            return plain_background(whole.shape, LEVELS[self.params.background])
        with np.load(inputs.path("segment", "outline")) as outline:
            return background_of(whole, outline["behind"], alpha)

    def _metadata(self, sample: Sample, inputs: StageInputs[RelightParams]) -> dict[str, Any]:
        truth = _read_json(inputs.path("degrade", "params"))
        parent = sample.at_level(0).id
        person = str(sample.attributes.get("person") or parent)
        return {
            "id": sample.id,
            "photograph": parent,
            "person": person,
            "split": split_of(person, self.params.split),
            "source": sample.source.uri.rpartition("/")[2] if sample.source else "",
            "files": {
                **{name: f"outputs/{parent}_{name}.png" for name in ("input", "albedo", "alpha", "foreground")},
                "output": f"outputs/{sample.id}_output.png",
            },
            "background": self.params.background,
            "segmentation": _read_json(inputs.path("segment", "facts")),
            "albedo": _read_json(inputs.path("albedo", "facts")),
            **truth,
        }


def split_of(person: str, shares: HeldOutParams) -> str:
    """Train, validation or test; depends on the name only, so adding photographs never moves others between splits."""
    digest = hashlib.blake2b(f"split\0{person}".encode(), digest_size=8).digest()
    place = int.from_bytes(digest, "big") / 2**64
    if place < shares.test:
        return "test"
    return "validation" if place < shares.test + shares.validation else "train"


def _read_json(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return value
