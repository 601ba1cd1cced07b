"""FLUX.1 Fill: outpainting and inpainting by a generative model, through diffusers' ``FluxFillPipeline``.

Settings follow VistaDream's public forks: an empty prompt, 25 steps, guidance 30. Initial latents are drawn on the CPU
from the sample's seed, so they do not depend on the device.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scenewright_stages.backends.inpaint.flux_prompts import FluxPrompts, load_prompts
from scenewright_stages.backends.inpaint.interface import FillGuide, check_fill_request, paste_known
from scenewright_stages.backends.runtime.acceleration import (
    BLOCKS,
    NONE,
    begins_eagerly,
    compile_blocks,
    compile_option,
    quantise_to_float8,
    replay_steps,
)
from scenewright_stages.backends.runtime.capability import BackendRecord
from scenewright_stages.backends.runtime.compile_beside import CompileBeside, blocks_beside
from scenewright_stages.backends.runtime.errors import UnsupportedOption
from scenewright_stages.backends.runtime.loading import LoadRequest, ModelContext
from scenewright_stages.backends.runtime.pretrained import quiet_diffusers
from scenewright_stages.backends.runtime.tensors import free_memory, torch_dtype
from scenewright_stages.vision.types import Float32Array, Mask

# Fills the hole in the model's input; mid-grey is zero after normalisation.
_HIDDEN = 0.5


@dataclass(frozen=True)
class FluxFillSettings:
    """How the model runs.

    Attributes:
        precision: ``bf16``; ``fp8`` = float8 weights and dynamically quantised activations in the transformer
            (Hopper or newer), the rest bf16; ``fp32`` for tests.
        compile: ``blocks`` compiles each kind of transformer block once and replays whole steps; ``none`` runs eagerly.
        beside: compile in a child process, and run eagerly until then, unless the cache has compiled code.
        offload: ``model`` keeps only the running component on the GPU; ``none`` keeps all there.
        steps: denoising steps.
        guidance: distilled guidance scale.
    """

    precision: str = "bf16"
    compile: str = BLOCKS
    beside: bool = False
    offload: str = "none"
    steps: int = 25
    guidance: float = 30.0

    @classmethod
    def from_context(
        cls, context: ModelContext, name: str = "flux-fill", steps: int = 25, compiled: str = BLOCKS
    ) -> FluxFillSettings:
        """The backend options of a stage, with defaults that fit the device.

        Args:
            context: of the stage.
            name: the backend's, for errors.
            steps: its default.
            compiled: what `compile` is by default where it is worthwhile.

        Raises:
            UnsupportedOption: steps below 1, fp8 or compiled blocks together with the CPU or offloading.
        """
        on_gpu = context.device != "cpu"
        offload = str(context.option("offload", "none"))
        compiled = compile_option(context, compiled, offload)
        settings = cls(
            precision=str(context.option("precision", "bf16")),
            compile=compiled,
            beside=begins_eagerly(context, compiled),
            offload=offload,
            steps=int(context.option("steps", steps)),
            guidance=float(context.option("guidance", 30.0)),
        )
        settings.check(on_gpu, name)
        return settings

    def check(self, on_gpu: bool, name: str = "flux-fill") -> None:
        """Refuses invalid combinations. Raises UnsupportedOption."""
        if self.steps < 1:
            raise UnsupportedOption(f"{name}.steps", self.steps, ["1 and above"])
        if self.precision == "fp8" and not on_gpu:
            raise UnsupportedOption(f"{name}.precision", "fp8", ["bf16 or fp32 on the CPU"])
        if self.offload != "none" and not on_gpu:
            raise UnsupportedOption(f"{name}.offload", self.offload, ["none on the CPU"])
        if self.offload != "none" and self.compile != NONE:
            raise UnsupportedOption(f"{name}.compile", self.compile, ["none together with offload"])


class FluxFillInpainter:
    """An ``Inpainter`` around a ready ``FluxFillPipeline``; runs one fill at a time.

    Args:
        pipeline: in place.
        prompts: of the same weights.
        settings: how it runs.
        record: of the backend.
        beside: from :func:`place_pipeline`.
    """

    def __init__(
        self,
        pipeline: Any,
        prompts: FluxPrompts,
        settings: FluxFillSettings,
        record: BackendRecord,
        beside: CompileBeside | None = None,
    ) -> None:
        self._held: Any = pipeline
        self._beside = beside
        self._prompts = prompts
        self._settings = settings
        self._record = replace(record, precision=settings.precision)
        # Serialise fills: the scheduler is stateful, and a new prompt loads the text encoders.
        self._lock = threading.Lock()
        pipeline.set_progress_bar_config(disable=True)

    @property
    def record(self) -> BackendRecord:
        """The record, with notes on the source of the text conditioning and on eager samples."""
        record = replace(self._record, notes=f"{self._record.notes} Text conditioning: {self._prompts.origin}.")
        return self._beside.noted(record) if self._beside else record

    def fill(
        self, srgb: Float32Array, hole: Mask, prompt: str = "", seed: int = 0, guide: FillGuide | None = None
    ) -> Float32Array:
        """See ``Inpainter.fill``. Pads sides to multiples of 16 and crops afterwards."""
        check_fill_request(srgb, hole)
        if not hole.any():
            return srgb.copy()
        padded, padded_hole = pad_to_multiple(srgb, hole, self._multiple)
        height, width = hole.shape
        guidance = (guide.guidance if guide is not None else 0.0) or self._settings.guidance
        with self._lock:
            if self._beside:
                self._beside.begin_sample()
            filled = self._sample(padded, padded_hole, prompt, seed, guidance)
        return paste_known(filled[:height, :width], srgb, hole)

    def release(self) -> None:
        """Frees the model's memory."""
        if self._beside:
            self._beside.release()
        self._held = None
        free_memory()

    @property
    def _pipeline(self) -> Any:
        if self._held is None:
            raise RuntimeError("flux-fill was released")
        return self._held

    @property
    def _multiple(self) -> int:
        """Sides must be whole 2x2 patches of latents: 16 pixels for the published autoencoder."""
        return 2 * int(self._pipeline.vae_scale_factor)

    @torch.no_grad()
    def _sample(self, srgb: Float32Array, hole: Mask, prompt: str, seed: int, guidance: float) -> Float32Array:
        pipeline, settings = self._pipeline, self._settings
        device = pipeline._execution_device
        embeddings = self._prompts.encode(prompt, device, pipeline.transformer.dtype)
        generator = torch.Generator("cpu").manual_seed(seed % 2**63)
        # Create them on the device, because the pipeline prepares them in place.
        mask = torch.from_numpy(hole).to(device)
        hidden = torch.where(mask[..., None], _HIDDEN, torch.from_numpy(srgb).to(device))
        images = pipeline(
            image=hidden.permute(2, 0, 1)[None],
            mask_image=mask.float()[None, None],
            height=srgb.shape[0],
            width=srgb.shape[1],
            latents=self._first_latents(srgb.shape[:2], generator),
            prompt_embeds=embeddings.sequence,
            pooled_prompt_embeds=embeddings.pooled,
            num_inference_steps=settings.steps,
            guidance_scale=guidance,
            generator=generator,
            output_type="pt",
            return_dict=False,
        )[0]
        filled: Float32Array = images[0].float().permute(1, 2, 0).cpu().numpy()
        return filled

    def _first_latents(self, size: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
        """(1, tokens, 4 channels) noise: 2x2 patches of latents in row-major order, as the transformer needs them.

        At full strength the initial latents are pure noise, so the image need not be encoded for them.
        """
        channels = int(self._pipeline.vae.config.latent_channels)
        rows, columns = size[0] // self._multiple, size[1] // self._multiple
        return torch.randn((1, rows * columns, 4 * channels), generator=generator)


def pad_to_multiple(srgb: Float32Array, hole: Mask, multiple: int) -> tuple[Float32Array, Mask]:
    """Pads image and hole at the right and bottom by repeating the last column and row.

    Args:
        srgb: (H, W, 3) float32.
        hole: (H, W) bool.
        multiple: both sides become multiples of it.
    """
    height, width = hole.shape
    rows, columns = -height % multiple, -width % multiple
    if rows == 0 and columns == 0:
        return srgb, hole
    padding = ((0, rows), (0, columns))
    return np.pad(srgb, (*padding, (0, 0)), mode="edge"), np.pad(hole, padding, mode="edge")


def load_flux_fill(request: LoadRequest) -> FluxFillInpainter:
    """Loads the published pipeline from its folder; quantises, compiles and places it according to the options.

    Raises:
        UnsupportedOption: a combination of options that cannot work.
        ModuleNotFoundError: diffusers or transformers is not installed.
    """
    settings = FluxFillSettings.from_context(request.context)
    pipeline = _load_pipeline(request.folder, settings)
    beside = place_pipeline(pipeline, settings, request.context.device, request.context.cache_dir)
    prompts = load_prompts(
        request.folder,
        request.record.weights_id,
        encoders_present=request.optional_files_present,
        device=request.context.device,
        dtype=torch_dtype(settings.precision),
    )
    return FluxFillInpainter(pipeline, prompts, settings, request.record, beside)


def place_pipeline(pipeline: Any, settings: FluxFillSettings, device: str, cache_dir: Path) -> CompileBeside | None:
    """Quantises the transformer, moves everything to the device and compiles, in place.

    Returns:
        What compiles it, if that happens beside the run.
    """
    if settings.precision == "fp8":
        quantise_to_float8(pipeline.transformer, device)
    if settings.offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    else:
        pipeline.to(device)
    if settings.compile != BLOCKS:
        return None
    transformer = pipeline.transformer
    if not settings.beside:
        compile_blocks(transformer, cache_dir)
        replay_steps(transformer)
        return None
    beside = blocks_beside(transformer, cache_dir)
    replayed = replay_steps(transformer)
    transformer.forward = beside.wrap(replayed, replayed.forget)
    return beside


def _load_pipeline(folder: Path, settings: FluxFillSettings) -> Any:
    pipeline_class = quiet_diffusers().FluxFillPipeline
    # Leave out the text encoders (10 GB), which are loaded only to encode a prompt.
    absent = dict.fromkeys(("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"))
    return pipeline_class.from_pretrained(
        folder, dtype=torch_dtype(settings.precision), local_files_only=True, use_safetensors=True, **absent
    )
