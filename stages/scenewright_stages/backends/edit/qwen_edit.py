"""Qwen-Image-Edit through diffusers' ``QwenImageEditPipeline`` and, for 2509 and 2511, ``QwenImageEditPlusPipeline``.

The defaults are those of the reference-object script: 20 steps and a true guidance of 4. The model works at one
megapixel, its training size, and the result is then resized. Initial latents are drawn on the CPU from the sample's
seed, so they do not depend on the device. The text encoder's output for an instruction and an image is cached for
further seeds (:mod:`.qwen_instructions`).
"""

from __future__ import annotations

import importlib
import json
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from scenewright_stages.backends.edit.interface import check_edit_request, check_edited
from scenewright_stages.backends.edit.qwen_attention import use_real_rotations
from scenewright_stages.backends.edit.qwen_instructions import AREA, Instructions, sides_of
from scenewright_stages.backends.runtime.acceleration import (
    BLOCKS,
    NONE,
    begins_eagerly,
    compile_blocks,
    compile_option,
    quantise_to_float8,
)
from scenewright_stages.backends.runtime.capability import BackendRecord
from scenewright_stages.backends.runtime.compile_beside import CompileBeside, blocks_beside
from scenewright_stages.backends.runtime.errors import UnsupportedOption
from scenewright_stages.backends.runtime.loading import LoadRequest, ModelContext
from scenewright_stages.backends.runtime.pretrained import quiet_diffusers
from scenewright_stages.backends.runtime.tensors import free_memory, torch_dtype
from scenewright_stages.contract.errors import ConfigurationError
from scenewright_stages.vision.imaging.colour import uint8_from_unit
from scenewright_stages.vision.types import Float32Array

PIPELINES = ("QwenImageEditPipeline", "QwenImageEditPlusPipeline")
_NO_INSTRUCTION = " "
"""What guidance leads away from."""


@dataclass(frozen=True)
class QwenSettings:
    """How the model runs.

    Attributes:
        precision: ``bf16``; ``fp8`` = float8 weights and inputs in the transformer's blocks; ``fp32`` for tests.
            Weights published in 4 bits stay in 4 bits.
        compile: ``blocks`` compiles the transformer's block once for all sixty; ``none`` runs eagerly, as weights
            published in 4 bits always do.
        beside: compile in a child process, and run eagerly until then, unless the cache has compiled code.
        offload: ``model`` keeps only the running component on the GPU; ``none`` keeps all there.
        steps: denoising steps.
        guidance: true classifier-free guidance; at 1 or below the model runs once per step.
        area: number of pixels of the generated image.
    """

    precision: str = "bf16"
    compile: str = NONE
    beside: bool = False
    offload: str = "none"
    steps: int = 20
    guidance: float = 4.0
    area: int = AREA

    @classmethod
    def from_context(cls, context: ModelContext, name: str) -> QwenSettings:
        """The backend options of a stage.

        Raises:
            UnsupportedOption: steps below 2, a negative guidance, fp8 or offloading on the CPU, or compiled blocks
                together with offloading.
        """
        offload = str(context.option("offload", "none"))
        compiled = compile_option(context, BLOCKS, offload)
        settings = cls(
            precision=str(context.option("precision", "bf16")),
            compile=compiled,
            beside=begins_eagerly(context, compiled),
            offload=offload,
            steps=int(context.option("steps", 20)),
            guidance=float(context.option("guidance", 4.0)),
            area=AREA,
        )
        if settings.steps < 2:
            # The published schedule stretches to a last step of its own.
            raise UnsupportedOption(f"{name}.steps", settings.steps, ["2 and above"])
        if not settings.guidance >= 0:
            raise UnsupportedOption(f"{name}.guidance", settings.guidance, ["0 and above"])
        if context.device == "cpu" and settings.precision == "fp8":
            raise UnsupportedOption(f"{name}.precision", "fp8", ["bf16 or fp32 on the CPU"])
        if context.device == "cpu" and settings.offload != "none":
            raise UnsupportedOption(f"{name}.offload", settings.offload, ["none on the CPU"])
        if settings.offload != "none" and settings.compile != NONE:
            raise UnsupportedOption(f"{name}.compile", settings.compile, ["none together with offload"])
        return settings


class QwenEditor:
    """An ``Editor`` around a ready pipeline; handles one image at a time, from any thread.

    Args:
        pipeline: in place.
        instructions: of the same weights.
        settings: how it runs.
        record: of the backend.
        beside: from :func:`place_pipeline`.
    """

    def __init__(
        self,
        pipeline: Any,
        instructions: Instructions,
        settings: QwenSettings,
        record: BackendRecord,
        beside: CompileBeside | None = None,
    ) -> None:
        self._held: Any = pipeline
        self._beside = beside
        self._instructions = instructions
        self._settings = settings
        self._lock = threading.Lock()
        self._record = record
        pipeline.set_progress_bar_config(disable=True)

    @property
    def record(self) -> BackendRecord:
        """The record, with a note on eager samples."""
        return self._beside.noted(self._record) if self._beside else self._record

    def edit(
        self, srgb: Float32Array, instruction: str, seed: int = 0, size: tuple[int, int] | None = None
    ) -> Float32Array:
        """See ``Editor.edit``."""
        check_edit_request(srgb, instruction)
        width, height = size or (srgb.shape[1], srgb.shape[0])
        with self._lock:
            if self._beside:
                self._beside.begin_sample()
            painted = self._painted(srgb, instruction, seed, sides_of(width / height, self._settings.area))
        return check_edited(_fitted(painted, width, height))

    def release(self) -> None:
        """Frees the model's memory."""
        if self._beside:
            self._beside.release()
        self._held = None
        self._instructions.release()
        free_memory()

    @property
    def pipeline(self) -> Any:
        """The pipeline. Raises RuntimeError after :meth:`release`."""
        if self._held is None:
            raise RuntimeError(f"{self.record.backend} was released")
        return self._held

    @torch.no_grad()
    def _painted(self, srgb: Float32Array, instruction: str, seed: int, size: tuple[int, int]) -> Float32Array:
        from PIL import Image

        pipeline, settings = self.pipeline, self._settings
        picture = Image.fromarray(uint8_from_unit(srgb))
        guided: dict[str, Any] = {}
        if settings.guidance > 1:
            embeddings, mask = self._instructions.read(pipeline, picture, _NO_INSTRUCTION)
            guided = {"negative_prompt_embeds": embeddings, "negative_prompt_embeds_mask": mask}
        embeddings, mask = self._instructions.read(pipeline, picture, instruction)
        images = pipeline(
            image=picture,
            prompt_embeds=embeddings,
            prompt_embeds_mask=mask,
            **guided,
            true_cfg_scale=settings.guidance,
            num_inference_steps=settings.steps,
            width=size[0],
            height=size[1],
            generator=torch.Generator("cpu").manual_seed(seed % 2**63),
            output_type="pt",
            return_dict=False,
        )[0]
        painted: Float32Array = images[0].float().permute(1, 2, 0).cpu().numpy()
        return painted


def _fitted(picture: Float32Array, width: int, height: int) -> Float32Array:
    """The image resized; its aspect ratio may change by the rounding to multiples of 32."""
    if picture.shape[:2] == (height, width):
        return picture
    smaller = picture.shape[0] * picture.shape[1] > width * height
    how = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, (width, height), interpolation=how), np.float32)


def load_qwen_edit(request: LoadRequest) -> QwenEditor:
    """Load the published pipeline from its folder.

    Raises:
        UnsupportedOption: a combination of options that cannot work.
        ModuleNotFoundError: diffusers, transformers or bitsandbytes (for 4 bits) is not installed.
    """
    settings = QwenSettings.from_context(request.context, request.facts.name)
    pipeline = load_pipeline(request.folder, settings, request.context.device)
    beside = place_pipeline(pipeline, settings, request.context.device, request.context.cache_dir)
    record = replace(request.record, precision=precision_of(pipeline, settings))
    return QwenEditor(pipeline, Instructions(request.folder), settings, record, beside)


def load_pipeline(folder: Path, settings: QwenSettings, device: str) -> Any:
    """Loads the pipeline that the folder's index names, not yet quantised.

    Raises:
        ConfigurationError: the folder has another kind of pipeline, or 4-bit weights with ``fp8`` or on a CPU.
    """
    name = json.loads((folder / "model_index.json").read_text(encoding="utf-8")).get("_class_name")
    if name not in PIPELINES:
        raise ConfigurationError("models", str(name), f"is not one of {', '.join(PIPELINES)}")
    four_bits = _is_quantised(folder)
    if four_bits and settings.precision == "fp8":
        raise ConfigurationError("precision", "fp8", "these weights were published in 4 bits: leave precision empty")
    if four_bits and device == "cpu":
        raise ConfigurationError("variant", folder.name, "weights in 4 bits need a GPU")
    if four_bits:
        # Fail early with an error that names the package.
        importlib.import_module("bitsandbytes")
    # Load directly to the device if the weights need no processing on the host.
    straight = device != "cpu" and settings.precision == "bf16" and settings.offload == "none"
    # Its own processor would need video packages; `qwen_instructions` builds the prompts instead.
    return getattr(quiet_diffusers(), name).from_pretrained(
        folder,
        dtype=torch_dtype(settings.precision),
        local_files_only=True,
        use_safetensors=True,
        processor=None,
        **({"device_map": device} if straight else {}),
    )


def place_pipeline(pipeline: Any, settings: QwenSettings, device: str, cache_dir: Path) -> CompileBeside | None:
    """Quantises the transformer, moves everything to the device and compiles, in place.

    Returns:
        What compiles it, if that happens beside the run.
    """
    if settings.precision == "fp8":
        quantise_to_float8(pipeline.transformer, device)
    if settings.offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    elif getattr(pipeline, "hf_device_map", None) is None:
        pipeline.to(device)
    if settings.compile != BLOCKS or _in_four_bits(pipeline):
        return None
    transformer = pipeline.transformer
    use_real_rotations(transformer)
    if not settings.beside:
        compile_blocks(transformer, cache_dir)
        return None
    beside = blocks_beside(transformer, cache_dir)
    transformer.forward = beside.wrap(transformer.forward)
    return beside


def precision_of(pipeline: Any, settings: QwenSettings) -> str:
    """Precision of the transformer's weights, for the record."""
    return "4bit" if _in_four_bits(pipeline) else settings.precision


def _in_four_bits(pipeline: Any) -> bool:
    return bool(getattr(pipeline.transformer, "is_quantized", False))


def _is_quantised(folder: Path) -> bool:
    config = json.loads((folder / "transformer" / "config.json").read_text(encoding="utf-8"))
    return "quantization_config" in config
