"""FLUX.1 [dev] through diffusers' ``FluxPipeline``.

As for FLUX.1 Fill, the text encoders are loaded only to encode a new text and then freed. Initial latents are drawn on
the CPU from the seed, so they do not depend on the device.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import torch

from scenewright_stages.backends.inpaint.flux_prompts import FluxPrompts, encode_prompt
from scenewright_stages.backends.runtime.capability import BackendRecord
from scenewright_stages.backends.runtime.errors import UnsupportedOption
from scenewright_stages.backends.runtime.loading import LoadRequest
from scenewright_stages.backends.runtime.pretrained import quiet_diffusers
from scenewright_stages.backends.runtime.tensors import free_memory, torch_dtype
from scenewright_stages.backends.text_to_image.interface import check_drawn
from scenewright_stages.vision.types import Float32Array

_PIPELINE = "FluxPipeline"


class FluxDrawer:
    """A ``TextToImage`` around a ready pipeline; generates one image at a time."""

    def __init__(self, pipeline: Any, prompts: FluxPrompts, record: BackendRecord, steps: int, guidance: float) -> None:
        self._held: Any = pipeline
        self._prompts, self._steps, self._guidance = prompts, steps, guidance
        self.record = record
        pipeline.set_progress_bar_config(disable=True)

    @torch.no_grad()
    def draw(self, prompt: str, size: int, seed: int = 0) -> Float32Array:
        """See ``TextToImage.draw``. Generates at the next valid size, then resizes."""
        if self._held is None:
            raise RuntimeError("flux was released")
        pipeline = self._held
        # Sides are whole 2x2 patches of latents.
        multiple = 2 * int(pipeline.vae_scale_factor)
        side = -(-size // multiple) * multiple
        embeddings = self._prompts.encode(prompt, pipeline._execution_device, pipeline.transformer.dtype)
        generator = torch.Generator("cpu").manual_seed(seed % 2**63)
        shape = (1, (side // multiple) ** 2, 4 * int(pipeline.vae.config.latent_channels))
        images = pipeline(
            height=side,
            width=side,
            latents=torch.randn(shape, generator=generator).to(pipeline._execution_device, pipeline.transformer.dtype),
            prompt_embeds=embeddings.sequence,
            pooled_prompt_embeds=embeddings.pooled,
            num_inference_steps=self._steps,
            guidance_scale=self._guidance,
            output_type="pt",
            return_dict=False,
        )[0]
        drawn: Float32Array = images[0].float().permute(1, 2, 0).cpu().numpy()
        if side != size:
            drawn = np.asarray(cv2.resize(drawn, (size, size), interpolation=cv2.INTER_AREA), np.float32)
        return check_drawn(drawn)

    def release(self) -> None:
        """Free the model's memory."""
        self._held = None
        free_memory()


def load_flux(request: LoadRequest) -> FluxDrawer:
    """Load the published pipeline from its folder.

    Raises:
        UnsupportedOption: fewer than one step.
        ModuleNotFoundError: diffusers or transformers is not installed.
    """
    context, folder = request.context, request.folder
    precision, steps = str(context.option("precision", "bf16")), int(context.option("steps", 50))
    if steps < 1:
        raise UnsupportedOption("flux.steps", steps, ["1 and above"])
    dtype = torch_dtype(precision)
    absent = dict.fromkeys(("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"))
    pipeline = getattr(quiet_diffusers(), _PIPELINE).from_pretrained(
        folder, dtype=dtype, local_files_only=True, use_safetensors=True, **absent
    )
    prompts = FluxPrompts(
        "T5 and CLIP from the weights' own folder",
        lambda prompt: encode_prompt(folder, prompt, context.device, dtype, _PIPELINE),
    )
    record = replace(request.record, precision=precision)
    guidance = float(context.option("guidance", 3.5))
    return FluxDrawer(pipeline.to(context.device), prompts, record, steps, guidance)
