"""The stage that estimates the camera poses of photographs.

It is separate from the capture stage because it imports COLMAP, which nothing else needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import torch

from scenewright_stages.captures import FRAMES, PosesParams
from scenewright_stages.contract.errors import SampleError
from scenewright_stages.contract.pipeline import INPUT
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import BackendUse, Stage, StageInputs, StageResult
from scenewright_stages.scenes.captures import masks_of
from scenewright_stages.vision.places.captures.bare import VIDEO
from scenewright_stages.vision.places.captures.capture import CaptureError
from scenewright_stages.vision.places.captures.colmap import MODEL_FILES
from scenewright_stages.vision.places.captures.estimation import (
    EstimationSettings,
    estimate_poses,
    stored_name,
)
from scenewright_stages.vision.places.captures.finding import is_photograph, photograph_name
from scenewright_stages.vision.places.captures.pictures import read_masked
from scenewright_stages.vision.places.captures.soundness import copies, copies_note, masks_notes
from scenewright_stages.vision.places.captures.walking import write_frames
from scenewright_stages.vision.places.matching import models

_THREADS = 2
"""Photographs in which features are looked for at the same time, at most: each takes half a gigabyte."""
_OPAQUE = (".jpg", ".jpeg", ".bmp")
"""Endings of pictures without transparency."""


class PosesBlock(Protocol):
    """Parameters of pipelines that estimate poses."""

    @property
    def poses(self) -> PosesParams:
        """How."""


class PosesStage(Stage[Any]):
    """Estimates the camera poses of a sample's photographs."""

    def process(self, sample: Sample, inputs: StageInputs[Any]) -> StageResult:
        """Writes a COLMAP model, and the chosen frames of a video.

        Warnings name copies, photographs without a pose, and parts of a video without a sharp frame.
        """
        params: PosesBlock = inputs.params
        pictures = {photograph_name(role): inputs.path(INPUT, role) for role in sample.files if is_photograph(role)}
        masks = {name: inputs.path(INPUT, role) for name, role in masks_of(sample).items()}
        video = next((inputs.path(INPUT, role) for role in sample.files if role.startswith(VIDEO)), None)
        settings = EstimationSettings(
            params.poses.features,
            params.poses.max_resolution,
            inputs.seed % 2**31,
            in_order=video is not None,
            matching=params.poses.matching,
            threads=min(_THREADS, torch.get_num_threads()),
        )
        notes: list[str] = []
        try:
            if video is not None:
                longest = max(params.poses.max_resolution, inputs.params.max_resolution)
                frames = write_frames(video, inputs.workspace / FRAMES, params.poses.video.frames, longest)
                pictures, notes = {path.name: path for path in frames.paths}, list(frames.notes)
            pictures, copied = without_repeated(pictures)
            valid, hidden = masks_beneath(pictures, masks, inputs.workspace / "valid")
            notes += hidden
            found = estimate_poses(pictures, inputs.workspace, settings, self.context.progress, valid)
        except CaptureError as problem:
            # What is left out may be the cause.
            raise SampleError(problem.reason, "; ".join([str(problem), *notes])) from problem
        metrics = {
            "photographs": len(pictures),
            "registered": len(found.registered),
            "points": found.points,
            "reprojection_error": round(found.reprojection_error, 4),
            "matching": "learned" if found.learned else "sift",
        }
        outputs = {name: inputs.workspace / f"{name}.txt" for name in MODEL_FILES}
        if video is not None:
            outputs[FRAMES] = inputs.workspace / FRAMES
        warnings = [*notes, *copied, *found.notes()]
        return StageResult(outputs, metrics=metrics, warnings=warnings, backends=_uses(found.learned))


def _uses(learned: bool) -> list[BackendUse]:
    """What matched the photographs, for the record."""
    sift = BackendUse("match", "sift", notes="SIFT features, matched by COLMAP.")
    notes = "Pairs that SIFT matched badly, by XFeat and LighterGlue."
    xfeat = BackendUse("match", "xfeat", models.PACKAGE, models.VERSION, models.LICENCE, notes)
    return [sift, xfeat] if learned else [sift]


def without_repeated(pictures: Mapping[str, Path]) -> tuple[dict[str, Path], list[str]]:
    """The photographs without copies of others, and a note that names the copies. Unreadable ones stay."""
    names = sorted(pictures)
    greys = {name: _reduced(pictures[name]) for name in names}
    read = [name for name in names if greys[name] is not None]
    repeated = copies([np.asarray(greys[name], np.uint8) for name in read]) if read else {}
    dropped = {read[number] for number in repeated}
    kept = {name: path for name, path in pictures.items() if name not in dropped}
    return kept, [copies_note(repeated, read)] if repeated else []


def _reduced(path: Path) -> Any:
    """A picture in grey at a quarter of its size; None if it cannot be read, or is smaller than four pixels."""
    try:
        return cv2.imread(str(path), cv2.IMREAD_REDUCED_GRAYSCALE_4)
    except cv2.error:
        return None


def masks_beneath(
    pictures: Mapping[str, Path], masks: Mapping[str, Path], folder: Path
) -> tuple[Path | None, list[str]]:
    """A folder with ``<name>.png``, black where a photograph is not valid, None if all are valid everywhere; and notes.

    Raises:
        CaptureError: a mask does not fit its photograph.
    """
    found, shares = None, dict.fromkeys(pictures, 1.0)
    for name, path in pictures.items():
        mask = masks.get(name)
        if mask is None and path.suffix.lower() in _OPAQUE:
            continue
        _, valid, _ = read_masked(name, path, mask.name if mask else "", mask)
        if valid is not None:
            found, shares[name] = folder, float(valid.mean())
            target = folder / f"{stored_name(name)}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(target), valid.astype(np.uint8) * 255)
    return found, masks_notes(shares) if shares else []
