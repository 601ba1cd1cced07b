"""FLUX.2 klein: outpainting and inpainting in four steps, through diffusers' ``Flux2KleinInpaintPipeline``.

The model sees the picture, its hole grey, beside the noise, and an instruction. After every step the known part of the
latents is put back, so the fill fits its surroundings. Initial latents are drawn on the CPU from the sample's seed.
"""

from __future__ import annotations

import math
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from scenewright_stages.backends.inpaint.flux_fill import FluxFillSettings, pad_to_multiple, place_pipeline
from scenewright_stages.backends.inpaint.interface import FillGuide, check_fill_request, paste_known
from scenewright_stages.backends.runtime.acceleration import NONE
from scenewright_stages.backends.runtime.capability import BackendRecord
from scenewright_stages.backends.runtime.compile_beside import CompileBeside
from scenewright_stages.backends.runtime.loading import LoadRequest
from scenewright_stages.backends.runtime.pretrained import quiet_diffusers
from scenewright_stages.backends.runtime.tensors import free_memory, torch_dtype
from scenewright_stages.vision.types import Float32Array, Mask

INSTRUCTION = "Replace the plain grey area: continue the picture seamlessly into it, in the same style and light."
"""What an editing model is told about the hole; a prompt of the spec follows it."""
LARGEST_AREA = 1024 * 1024
"""Pixels of the pictures that it was trained on; the pipeline itself shrinks larger ones."""
STEPS = 4
"""Of the distilled model."""
_HIDDEN = 0.5
_PIPELINE = "Flux2KleinInpaintPipeline"


class KleinModel:
    """A ready klein pipeline without text encoder; it paints one picture at a time.

    Args:
        pipeline: in place.
        folder: of the weights, for the text encoder.
        settings: how it runs.
        record: of the backend.
        device: where the text encoder runs.
        beside: from :func:`place_pipeline`.
    """

    def __init__(
        self,
        pipeline: Any,
        folder: Path,
        settings: FluxFillSettings,
        record: BackendRecord,
        device: str,
        beside: CompileBeside | None = None,
    ) -> None:
        self._held: Any = pipeline
        self._folder, self._settings, self._device = folder, settings, device
        self._record = replace(record, precision=settings.precision)
        self._beside = beside
        self._embeddings: dict[str, torch.Tensor] = {}
        # Serialise pictures: the scheduler is stateful, and a new instruction loads the text encoder.
        self._lock = threading.Lock()
        pipeline.set_progress_bar_config(disable=True)

    @property
    def record(self) -> BackendRecord:
        """The record, with a note on eager samples."""
        return self._beside.noted(self._record) if self._beside else self._record

    def release(self) -> None:
        """Frees the model's memory."""
        if self._beside:
            self._beside.release()
        self._held = None
        self._embeddings.clear()
        free_memory()

    @property
    def _pipeline(self) -> Any:
        if self._held is None:
            raise RuntimeError(f"{self._record.backend} was released")
        return self._held

    @property
    def _multiple(self) -> int:
        """Sides must be whole 2x2 patches of latents: 16 pixels for the published autoencoder."""
        return 2 * int(self._pipeline.vae_scale_factor)

    @torch.no_grad()
    def _paint(self, instruction: str, seed: int, size: tuple[int, int], **given: Any) -> Float32Array:
        """(height, width, 3) painted picture.

        Args:
            instruction: what the model is told.
            seed: of the initial latents.
            size: width and height, whole patches.
            given: further arguments of the pipeline.
        """
        pipeline = self._pipeline
        device, dtype = pipeline._execution_device, pipeline.transformer.dtype
        generator = torch.Generator("cpu").manual_seed(seed % 2**63)
        columns, rows = (side // self._multiple for side in size)
        shape = (1, int(pipeline.transformer.config.in_channels), rows, columns)
        latents = torch.randn(shape, generator=generator)
        with self._lock:
            if self._beside:
                self._beside.begin_sample()
            images = pipeline(
                prompt_embeds=self._encoded(instruction).to(device, dtype),
                latents=latents.to(device, dtype),
                num_inference_steps=self._settings.steps,
                guidance_scale=1.0,
                generator=generator,
                output_type="pt",
                return_dict=False,
                **given,
            )[0]
        painted: Float32Array = images[0].float().permute(1, 2, 0).cpu().numpy()
        return painted

    def _encoded(self, instruction: str) -> torch.Tensor:
        """(1, tokens, width) conditioning on the CPU; the text encoder is loaded for a new text alone, then freed."""
        if instruction not in self._embeddings:
            self._embeddings[instruction] = encode_instruction(
                self._folder, instruction, self._device, torch_dtype(self._settings.precision)
            )
        return self._embeddings[instruction]


class KleinInpainter(KleinModel):
    """An ``Inpainter`` around a ready ``Flux2KleinInpaintPipeline``."""

    def fill(
        self, srgb: Float32Array, hole: Mask, prompt: str = "", seed: int = 0, guide: FillGuide | None = None
    ) -> Float32Array:
        """See ``Inpainter.fill``. Ignores the guide's guidance, which the distilled model does not have.

        Sides are padded to whole patches. A picture of more than a megapixel is filled at a megapixel and enlarged.
        """
        check_fill_request(srgb, hole)
        if not hole.any():
            return srgb.copy()
        height, width = hole.shape
        shown = np.where(hole[..., None], np.float32(_HIDDEN), srgb).astype(np.float32)
        sides = fitting_size(width, height, LARGEST_AREA, self._multiple)
        small, small_hole = _shrunk(shown, hole, sides)
        padded, area = pad_to_multiple(small, small_hole, self._multiple)
        sides, device = (padded.shape[1], padded.shape[0]), self._pipeline._execution_device
        filled = self._paint(
            instruction_of(prompt),
            seed,
            sides,
            image=torch.from_numpy(padded).permute(2, 0, 1)[None].to(device),
            mask_image=torch.from_numpy(whole_patches(area, self._multiple)).float()[None, None].to(device),
            strength=1.0,
        )
        filled = filled[: small.shape[0], : small.shape[1]]
        if small.shape != srgb.shape:
            filled = np.asarray(cv2.resize(filled, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)
        return paste_known(filled, srgb, hole)


def instruction_of(prompt: str) -> str:
    """What the model is told: how to treat the hole, and what the prompt says that it shows."""
    return f"{INSTRUCTION} It shows: {prompt.strip()}" if prompt.strip() else INSTRUCTION


def fitting_size(width: int, height: int, largest_area: int, multiple: int) -> tuple[int, int]:
    """Width and height of the same proportions whose area, padded to whole patches, is at most `largest_area`."""
    scale = 1.0
    while True:
        sides = max(1, round(width * scale)), max(1, round(height * scale))
        if math.prod(-(-side // multiple) * multiple for side in sides) <= largest_area:
            return sides
        scale = min(scale * 0.99, math.sqrt(largest_area / (width * height)))


def whole_patches(hole: Mask, multiple: int) -> Mask:
    """(H, W) the hole grown to whole patches, so that no patch is known in part; sides are multiples of a patch."""
    rows, columns = (side // multiple for side in hole.shape)
    touched = hole.reshape(rows, multiple, columns, multiple).any(axis=(1, 3))
    grown: Mask = np.repeat(np.repeat(touched, multiple, axis=0), multiple, axis=1)
    return grown


def _shrunk(srgb: Float32Array, hole: Mask, size: tuple[int, int]) -> tuple[Float32Array, Mask]:
    """Picture and hole at a size (width, height); a pixel is known only if all that it covers is."""
    if size == (hole.shape[1], hole.shape[0]):
        return srgb, hole
    small = np.asarray(cv2.resize(srgb, size, interpolation=cv2.INTER_AREA), np.float32)
    covered = cv2.resize(hole.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0
    return np.where(covered[..., None], np.float32(_HIDDEN), small).astype(np.float32), covered


@torch.no_grad()
def encode_instruction(folder: Path, instruction: str, device: str, dtype: torch.dtype) -> torch.Tensor:
    """(1, tokens, width) on the CPU: loads the text encoder, encodes, and frees it."""
    encoder = _pretrained(folder, dtype, transformer=None, vae=None).to(device)
    embeddings, _ = encoder.encode_prompt(prompt=instruction, device=device)
    encoded: torch.Tensor = embeddings.cpu()
    del encoder
    free_memory()
    return encoded


def load_flux2_klein(request: LoadRequest) -> KleinInpainter:
    """Loads the published pipeline from its folder; quantises, compiles and places it according to the options.

    Raises:
        UnsupportedOption: a combination of options that cannot work.
        ModuleNotFoundError: diffusers or transformers is not installed.
    """
    return KleinInpainter(*ready_pipeline(request, _PIPELINE))


def ready_pipeline(
    request: LoadRequest, pipeline_class: str
) -> tuple[Any, Path, FluxFillSettings, BackendRecord, str, CompileBeside | None]:
    """The arguments of a :class:`KleinModel` around one of diffusers' pipelines. Raises as :func:`load_flux2_klein`."""
    context = request.context
    # Compiled blocks are for those who ask for them: on this network they are not measured yet.
    settings = FluxFillSettings.from_context(context, request.facts.name, STEPS, NONE)
    absent = {"text_encoder": None, "tokenizer": None}
    pipeline = _pretrained(request.folder, torch_dtype(settings.precision), pipeline_class, **absent)
    beside = place_pipeline(pipeline, settings, context.device, context.cache_dir)
    return pipeline, request.folder, settings, request.record, context.device, beside


def _pretrained(folder: Path, dtype: torch.dtype, pipeline_class: str = _PIPELINE, **absent: None) -> Any:
    pipeline = getattr(quiet_diffusers(), pipeline_class)
    return pipeline.from_pretrained(folder, dtype=dtype, local_files_only=True, use_safetensors=True, **absent)
