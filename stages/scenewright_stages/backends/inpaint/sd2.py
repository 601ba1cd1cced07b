"""Stable Diffusion 2 Inpainting: holes filled by a generative model, through diffusers' own pipeline.

It is small beside FLUX.1 Fill, so many candidates of one hole are affordable. All random draws come from a generator on
the CPU, so that they do not depend on the device.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from scenewright_stages.backends.inpaint.flux_fill import pad_to_multiple
from scenewright_stages.backends.inpaint.interface import FillGuide, check_fill_request, paste_known
from scenewright_stages.backends.runtime.capability import BackendRecord
from scenewright_stages.backends.runtime.errors import UnsupportedOption
from scenewright_stages.backends.runtime.loading import LoadRequest
from scenewright_stages.backends.runtime.pretrained import quiet_diffusers
from scenewright_stages.backends.runtime.tensors import free_memory, torch_dtype
from scenewright_stages.vision.types import Float32Array, Mask

# What lies under the hole is hidden from the model; mid-grey is zero after its normalisation.
_HIDDEN = 0.5


class Sd2Inpainter:
    """An ``Inpainter`` around a ready ``StableDiffusionInpaintPipeline``; one fill at a time.

    Args:
        pipeline: of diffusers.
        record: what goes into records.
        steps: denoising steps.
        guidance: guidance scale of fills that ask for none.
        negative: what not to show.
    """

    def __init__(self, pipeline: Any, record: BackendRecord, steps: int, guidance: float, negative: str) -> None:
        self._held: Any = pipeline
        self._steps, self._guidance, self._negative = steps, guidance, negative
        self.record = record
        pipeline.set_progress_bar_config(disable=True)

    @torch.no_grad()
    def fill(
        self, srgb: Float32Array, hole: Mask, prompt: str = "", seed: int = 0, guide: FillGuide | None = None
    ) -> Float32Array:
        """See ``Inpainter.fill``. Sides need not be multiples of 8: the border is padded and cut off again."""
        check_fill_request(srgb, hole)
        if self._held is None:
            raise RuntimeError("sd2-inpaint was released")
        if not hole.any():
            return srgb.copy()
        padded, mask = pad_to_multiple(srgb, hole, int(self._held.vae_scale_factor))
        picture, area = torch.from_numpy(padded), torch.from_numpy(mask)
        hidden = torch.where(area[..., None], _HIDDEN, picture)
        images = self._held(
            prompt=prompt,
            negative_prompt=self._negative,
            image=hidden.permute(2, 0, 1)[None],
            mask_image=area.float()[None, None],
            height=padded.shape[0],
            width=padded.shape[1],
            strength=1.0,
            num_inference_steps=self._steps,
            guidance_scale=(guide.guidance if guide is not None else 0.0) or self._guidance,
            generator=torch.Generator("cpu").manual_seed(seed % 2**63),
            output_type="pt",
            return_dict=False,
        )[0]
        height, width = hole.shape
        filled: Float32Array = images[0].float().permute(1, 2, 0).cpu().numpy()
        return paste_known(filled[:height, :width], srgb, hole)

    def release(self) -> None:
        """Free the model's memory."""
        self._held = None
        free_memory()


def load_sd2(request: LoadRequest) -> Sd2Inpainter:
    """Load the published pipeline from its folder.

    Raises:
        UnsupportedOption: fewer than one step, or half precision on the CPU.
        ModuleNotFoundError: diffusers or transformers is not installed.
    """
    context = request.context
    precision = str(context.option("precision", "fp16" if context.device != "cpu" else "fp32"))
    steps = int(context.option("steps", 50))
    if steps < 1:
        raise UnsupportedOption("sd2-inpaint.steps", steps, ["1 and above"])
    if precision == "fp16" and context.device == "cpu":
        raise UnsupportedOption("sd2-inpaint.precision", precision, ["fp32 on the CPU"])
    pipeline = quiet_diffusers().StableDiffusionInpaintPipeline.from_pretrained(
        request.folder,
        dtype=torch_dtype(precision),
        local_files_only=True,
        use_safetensors=True,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    guidance, negative = float(context.option("guidance", 7.5)), str(context.option("negative", ""))
    record = replace(request.record, precision=precision)
    return Sd2Inpainter(pipeline.to(context.device), record, steps, guidance, negative)
