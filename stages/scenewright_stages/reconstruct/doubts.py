"""Warns about a scene that is good from where the photographs were taken, and bad from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scenewright_stages.reconstruct.params import SceneTrainingParams

_LARGEST_GAP = 12.0
"""In dB, between photographs that trained and those that were held out. 15 photographs of a beach end with 7 dB after
1,500 steps at 120 pixels, and with 25 dB after 30,000 steps at 640 pixels."""


def doubts(metrics: Mapping[str, Any], training: SceneTrainingParams) -> list[str]:
    """Warnings about the quality of a scene, each with the field to change.

    Args:
        metrics: of the scene, as in `metrics.json`.
        training: how it was trained.
    """
    return [text for text in (_against_nearest(metrics, training), _gap(metrics, training)) if text]


def _gap(metrics: Mapping[str, Any], training: SceneTrainingParams) -> str:
    trained, held_out = metrics["train"]["psnr"], metrics["held_out"]["psnr"]
    if trained - held_out <= _LARGEST_GAP:
        return ""
    views = len(metrics["train"]["views"])
    return (
        f"the scene shows the {views} photographs that trained with {trained:.1f} dB and the held-out ones with "
        f"{held_out:.1f} dB: it has learned the former by heart. {_remedy(training)}"
    )


def _against_nearest(metrics: Mapping[str, Any], training: SceneTrainingParams) -> str:
    found = metrics["nearest_photograph"]
    if found["psnr_shown"] is None or found["scene_psnr_shown"] >= found["psnr_shown"]:
        return ""
    return (
        f"the nearest photograph, moved as if the scene were one plane, shows held-out photographs with "
        f"{found['psnr_shown']:.1f} dB and the scene, over the same pixels, with {found['scene_psnr_shown']:.1f} dB: "
        f"the scene adds nothing. {_remedy(training)}"
    )


def _remedy(training: SceneTrainingParams) -> str:
    if training.preset:
        return "Take more photographs from between those that there are, or match them (exposure: matched)"
    return (
        "Set training.preset to preview or quality, which choose how long to train, or lower training.steps "
        f"({training.steps}) and training.maximum ({training.maximum}), or take more photographs"
    )
