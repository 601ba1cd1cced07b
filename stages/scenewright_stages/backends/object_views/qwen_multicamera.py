"""Views by Qwen-Image-Edit-2511 with a LoRA for camera angles, one image per camera.

The LoRA is fal's "Multiple Angles". Its prompts are ``<sks> VIEW ELEVATION DISTANCE`` with eight views, four elevations
and three distances; its card recommends a strength of 0.9.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from scenewright_stages.backends.edit.lora import add_lora
from scenewright_stages.backends.edit.qwen_edit import (
    QwenEditor,
    QwenSettings,
    load_pipeline,
    place_pipeline,
    precision_of,
)
from scenewright_stages.backends.edit.qwen_instructions import Instructions
from scenewright_stages.backends.object_views.facts import ANGLES_LORA
from scenewright_stages.backends.object_views.interface import Camera, OnView, on_plain
from scenewright_stages.backends.runtime.capability import BackendRecord
from scenewright_stages.backends.runtime.errors import UnsupportedOption
from scenewright_stages.backends.runtime.loading import LoadRequest
from scenewright_stages.vision.types import Float32Array

VIEWS = {
    0: "front view",
    45: "front-right quarter view",
    90: "right side view",
    135: "back-right quarter view",
    180: "back view",
    225: "back-left quarter view",
    270: "left side view",
    315: "front-left quarter view",
}
"""By degrees around the thing."""
ELEVATIONS = {-30: "low-angle shot", 0: "eye-level shot", 30: "elevated shot", 60: "high-angle shot"}
DISTANCES = {"close-up": "close-up", "medium": "medium shot", "wide": "wide shot"}
_STRENGTH = 0.9


class QwenCameras:
    """A ``ViewPainter``.

    Args:
        editor: Qwen-Image-Edit with the LoRA for angles, and with the record of these views.
    """

    def __init__(self, editor: QwenEditor) -> None:
        self._editor = editor

    @property
    def record(self) -> BackendRecord:
        """The editor's."""
        return self._editor.record

    def views(
        self, srgb: Float32Array, alpha: Float32Array, cameras: Sequence[Camera], seed: int, on_view: OnView
    ) -> list[Float32Array]:
        """See ``ViewPainter.views``. The background is white, and every view starts from the same noise."""
        instructions = [instruction_of(camera) for camera in cameras]
        white = on_plain(srgb, alpha, 1.0)
        found = []
        for number, instruction in enumerate(instructions, start=1):
            found.append(self._editor.edit(white, instruction, seed))
            on_view(number)
        return found

    def release(self) -> None:
        """Free the model's memory."""
        self._editor.release()


def instruction_of(camera: Camera) -> str:
    """The prompt for a camera. Raises UnsupportedOption for one that the LoRA was not trained on."""
    try:
        view, elevation = VIEWS[round(camera.azimuth) % 360], ELEVATIONS[round(camera.elevation)]
        return f"<sks> {view} {elevation} {DISTANCES[camera.distance]}"
    except KeyError as unknown:
        raise UnsupportedOption("qwen-multicamera.camera", camera, list(VIEWS.values())) from unknown


def load_qwen_multicamera(request: LoadRequest) -> QwenCameras:
    """Loads the pipeline, applies the LoRA for angles, then quantises and places the model.

    Raises:
        UnsupportedOption: a combination of options that cannot work, or a strength outside [0, 2].
        ConfigurationError: a folder holds another kind of model.
        ModuleNotFoundError: diffusers, transformers or bitsandbytes (for 4 bits) is not installed.
    """
    settings = QwenSettings.from_context(request.context, request.facts.name)
    strength = float(request.context.option("strength", _STRENGTH))
    if not 0 <= strength <= 2:
        raise UnsupportedOption("qwen-multicamera.strength", strength, ["0 to 2"])
    base, angles = request.folders
    pipeline = load_pipeline(base, settings, request.context.device)
    add_lora(pipeline, angles, ANGLES_LORA.required_files[0], strength)
    beside = place_pipeline(pipeline, settings, request.context.device, request.context.cache_dir)
    record = replace(request.record, precision=precision_of(pipeline, settings))
    return QwenCameras(QwenEditor(pipeline, Instructions(base), settings, record, beside))
