"""FLUX.2 klein from texts, in four steps, through diffusers' ``Flux2KleinPipeline``.

The text encoder is loaded to encode a new text and then freed. Initial latents are drawn on the CPU from the seed.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from scenewright_stages.backends.inpaint.flux2_klein import STEPS, encode_instruction
from scenewright_stages.backends.runtime.capability import BackendRecord
from scenewright_stages.backends.runtime.errors import UnsupportedOption
from scenewright_stages.backends.runtime.loading import LoadRequest
from scenewright_stages.backends.runtime.pretrained import quiet_diffusers
from scenewright_stages.backends.runtime.tensors import free_memory, torch_dtype
from scenewright_stages.backends.text_to_image.interface import check_drawn
from scenewright_stages.vision.types import Float32Array


class KleinDrawer:
    """A ``TextToImage`` around a ready pipeline without text encoder; generates one image at a time."""

    def __init__(self, pipeline: Any, folder: Path, device: str, record: BackendRecord, steps: int) -> None:
        self._held: Any = pipeline
        self._folder, self._device, self._steps = folder, device, steps
        self._embeddings: dict[str, torch.Tensor] = {}
        self.record = record
        pipeline.set_progress_bar_config(disable=True)

    @torch.no_grad()
    def draw(self, prompt: str, size: int, seed: int = 0) -> Float32Array:
        """See ``TextToImage.draw``. Generates at the next valid size, then resizes."""
        if self._held is None:
            raise RuntimeError("flux2-klein was released")
        pipeline = self._held
        # Sides are whole 2x2 patches of latents.
        multiple = 2 * int(pipeline.vae_scale_factor)
        side = -(-size // multiple) * multiple
        device, dtype = pipeline._execution_device, pipeline.transformer.dtype
        if prompt not in self._embeddings:
            self._embeddings[prompt] = encode_instruction(self._folder, prompt, self._device, dtype)
        shape = (1, int(pipeline.transformer.config.in_channels), side // multiple, side // multiple)
        noise = torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed % 2**63))
        images = pipeline(
            height=side,
            width=side,
            latents=noise.to(device, dtype),
            prompt_embeds=self._embeddings[prompt].to(device, dtype),
            num_inference_steps=self._steps,
            guidance_scale=1.0,
            output_type="pt",
            return_dict=False,
        )[0]
        drawn: Float32Array = images[0].float().permute(1, 2, 0).cpu().numpy()
        if side != size:
            drawn = np.asarray(cv2.resize(drawn, (size, size), interpolation=cv2.INTER_AREA), np.float32)
        return check_drawn(drawn)

    def release(self) -> None:
        """Frees the model's memory."""
        self._held = None
        self._embeddings.clear()
        free_memory()


def load_flux2_klein(request: LoadRequest) -> KleinDrawer:
    """Loads the published pipeline from its folder.

    Raises:
        UnsupportedOption: fewer than one step.
        ModuleNotFoundError: diffusers or transformers is not installed.
    """
    context, folder = request.context, request.folder
    precision, steps = str(context.option("precision", "bf16")), int(context.option("steps", STEPS))
    if steps < 1:
        raise UnsupportedOption("flux2-klein.steps", steps, ["1 and above"])
    pipeline = quiet_diffusers().Flux2KleinPipeline.from_pretrained(
        folder,
        dtype=torch_dtype(precision),
        local_files_only=True,
        use_safetensors=True,
        text_encoder=None,
        tokenizer=None,
    )
    record = replace(request.record, precision=precision)
    return KleinDrawer(pipeline.to(context.device), folder, context.device, record, steps)
