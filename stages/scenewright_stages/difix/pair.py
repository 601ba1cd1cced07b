"""Makes one pair: a render of a degraded scene, the photograph from the same pose, and a reference photograph."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.captures import BESIDE
from scenewright_stages.contract.errors import SampleRejected
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import Pixels, Stage, StageContext, StageInputs, StageResult
from scenewright_stages.difix.gates import Candidate, Measured, measure
from scenewright_stages.difix.params import PairsParams, SourceParams
from scenewright_stages.difix.strategies import NO_REFERENCE
from scenewright_stages.scenes.captures import flawed_view
from scenewright_stages.scenes.frames import stage_renderer
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.imaging.archives import save_arrays
from scenewright_stages.vision.imaging.metrics import sharpness
from scenewright_stages.vision.places.captures.pictures import Photograph, PosedPhotographs
from scenewright_stages.vision.types import Uint8Array

_JPEG = (cv2.IMWRITE_JPEG_QUALITY, 97, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)


class PairStage(Stage[PairsParams]):
    """Renders, measures and writes."""

    def __init__(self, context: StageContext[PairsParams]) -> None:
        super().__init__(context)
        self.renderer = stage_renderer(context.models)

    def process(self, sample: Sample, inputs: StageInputs[PairsParams]) -> StageResult:
        """Writes the pair, its metadata and its conditions; rejects a pair that fails a gate."""
        photographs = _photographs(inputs.path("capture", "photographs"))
        scene = GaussianScene.load_npz(inputs.path("spoil", "scene")).to(self.renderer.device)
        target = photographs.photographs[int(sample.attributes["target"])]
        number = int(sample.attributes["reference"])
        if int(sample.attributes["target"]) in photographs.left_out:
            raise SampleRejected(
                "Copy", f"{target.name} is a copy of another photograph, on which the scene was trained"
            )
        if number == NO_REFERENCE:
            raise SampleRejected("NoReference", f"no photograph may be the reference of {target.name}: see reference")
        beside = BESIDE in self.context.stage.upstream()
        others = _photographs(inputs.path(BESIDE, "photographs")) if beside else photographs
        reference = others.photographs[number]
        placed = photographs.frame.camera_from(reference.camera, others.frame)
        reference = replace(reference, camera=placed)
        view = flawed_view(scene, target.camera, reference, self.renderer)
        candidate = Candidate(view.srgb, view.alpha, target.srgb, reference.srgb, view.warped, view.valid, target.valid)
        measured = measure(candidate, _usual_sharpness(photographs), inputs.params.gates)
        return self._result(sample, inputs, (target, reference), candidate, measured)

    def _result(
        self,
        sample: Sample,
        inputs: StageInputs[PairsParams],
        photographs: tuple[Photograph, Photograph],
        pair: Candidate,
        measured: Measured,
    ) -> StageResult:
        target, reference = photographs
        outputs: dict[str, Any] = {"image": Pixels(as_bytes(pair.render))}
        for name, picture in (("target", learned(pair)), ("reference", reference.srgb)):
            outputs[name] = write_jpeg(inputs.workspace / f"{name}.jpg", picture)
        outputs["conditions"] = inputs.workspace / "conditions.npz"
        save_arrays(
            outputs["conditions"],
            {
                "alpha": as_bytes(pair.alpha),
                "warped": as_bytes(pair.warped),
                "valid": pair.valid.astype(np.uint8),
                **({} if pair.counted is None else {"counted": pair.counted.astype(np.uint8)}),
            },
        )
        facts = pair_facts(sample, inputs.params, target, reference)
        meta = {**facts, "measured": measured.to_json(), "renderer": self.renderer.name}
        outputs["meta"] = inputs.workspace / "meta.json"
        outputs["meta"].write_text(json.dumps(meta, indent=1) + "\n")
        return StageResult(outputs, metrics={**facts, **measured.to_json()})


def learned(pair: Candidate) -> Uint8Array:
    """The target as published: pixels that do not count are the render's, so no trainer learns anything from them."""
    if pair.counted is None:
        return pair.target
    return np.where(pair.counted[..., None], pair.target, as_bytes(pair.render))


def pair_facts(sample: Sample, params: PairsParams, target: Photograph, reference: Photograph) -> dict[str, Any]:
    """The content of ``meta.json``: the required keys, then additional ones."""
    facts = sample.attributes
    name, scene = str(facts["pair"]), str(facts["scene"])
    source = params.source_of(str(facts["folder"]))
    group = group_of(params, source, scene, facts["facts"])
    if (target.name, target.number) == (reference.name, reference.number):
        raise SampleRejected("ReferenceIsTarget", f"{target.name} would be its own reference")
    return {
        "sample_id": name,
        "dataset": (source.dataset if source else "") or facts.get("dataset") or params.dataset,
        "scene_name": scene,
        "group_id": group,
        "target_cam_id": target.number,
        "reference_cam_id": reference.number,
        "target_fname": target.name,
        "reference_fname": reference.name,
        "image_path": f"samples/{name}/image.png",
        "target_image_path": f"samples/{name}/target_image.jpg",
        "ref_image_path": f"samples/{name}/ref_image.jpg",
        "split": params.split.side(group),
        "strategy": facts["strategy"],
        "level": facts["level"],
    }


def group_of(params: PairsParams, source: SourceParams | None, scene: str, facts: Mapping[str, Any]) -> str:
    """The group of a capture. Raises SampleRejected if its capture.json lacks the field."""
    group_by = source.group_by if source else params.group_by
    try:
        return group_by.group_of(scene, facts)
    except KeyError:
        message = f"capture.json of {scene} has no {group_by.field!r}, which names the group"
        raise SampleRejected("NoGroup", message) from None


def as_bytes(values: NDArray[np.float32]) -> Uint8Array:
    """Values in [0, 1] as levels."""
    return np.asarray(np.round(np.clip(values, 0, 1) * 255), np.uint8)


def write_jpeg(path: Path, srgb: Uint8Array) -> Path:
    """Writes an RGB picture without colour subsampling."""
    done, data = cv2.imencode(".jpg", srgb[..., ::-1], _JPEG)
    if not done:
        raise OSError(f"could not encode {path.name}")
    path.write_bytes(data.tobytes())
    return path


@lru_cache(maxsize=4)
def _photographs(path: Path) -> PosedPhotographs:
    """Reads a capture; cached, because the pairs of one capture run in sequence."""
    return PosedPhotographs.load(path)


def _usual_sharpness(photographs: PosedPhotographs) -> float:
    return float(np.median([sharpness(each.srgb, each.valid) for each in photographs.photographs]))
