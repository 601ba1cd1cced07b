"""The DiFix network (Wu et al. 2025): SD-Turbo in one step, with skip connections and adapters in the decoder.

Render and reference are processed together: the U-Net's self-attention sees the tokens of both, in training and
inference. It uses the encoder's mean and adds no noise, so the output is deterministic. Parameter names match upstream,
so checkpoints are interchangeable.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from scenewright_stages.backends.runtime.acceleration import INDUCTOR, compile_function, compile_network

TIMESTEP = 199
RANK = 4
ADAPTER = "vae_skip"
_SKIP_WEIGHT = 1e-5
_SCALING = 2.0
"""Alpha 8 over rank 4, the default of peft, by which released adapters were trained."""
_TARGETS = ("conv1", "conv2", "conv_in", "conv_shortcut", "conv", "conv_out", "to_k", "to_q", "to_v", "to_out.0")
_FIRST_BETA, _LAST_BETA, _STEPS = 0.00085, 0.012, 1000
"""Stable Diffusion's schedule, linear in the roots."""


class Adapted(nn.Module):
    """A layer with a LoRA adapter, under peft's names; the adapter starts at zero."""

    def __init__(self, layer: nn.Conv2d | nn.Linear, rank: int = RANK) -> None:
        super().__init__()
        self.base_layer = layer
        down, up = _low_rank(layer, rank)
        nn.init.normal_(down.weight, std=1 / rank)
        nn.init.zeros_(up.weight)
        self.lora_A, self.lora_B = nn.ModuleDict({ADAPTER: down}), nn.ModuleDict({ADAPTER: up})

    def forward(self, values: torch.Tensor, *rest: Any) -> torch.Tensor:
        """The layer's output plus the adapter's."""
        changed: torch.Tensor = self.lora_B[ADAPTER](self.lora_A[ADAPTER](values))
        plain: torch.Tensor = self.base_layer(values)
        return plain + _SCALING * changed


class ViewAttention:
    """A diffusers attention processor that lets all views of a sample attend to each other."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.views = inner, 1

    def __call__(self, attention: Any, hidden_states: torch.Tensor, *rest: Any, **named: Any) -> torch.Tensor:
        """Attention over (B V, N, C) tokens of V views of B samples, as (B, V N, C)."""
        count, tokens, channels = hidden_states.shape
        together = hidden_states.reshape(count // self.views, self.views * tokens, channels)
        answer: torch.Tensor = self.inner(attention, together, *rest, **named)
        return answer.reshape(count, tokens, channels)


class DifixNetwork(nn.Module):
    """Removes artefacts from a render, given a reference.

    Args:
        unet: a ``UNet2DConditionModel`` in SD-Turbo's layout that predicts noise; fully trained.
        vae: its ``AutoencoderKL``; the decoder gets skips and adapters, the encoder is frozen.
        prompt: (1, L, C) the encoded prompt.
    """

    prompt: torch.Tensor

    def __init__(self, unet: nn.Module, vae: nn.Module, prompt: torch.Tensor) -> None:
        super().__init__()
        self.unet: Any = unet
        self.vae: Any = vae
        self.register_buffer("prompt", prompt, persistent=False)
        self._attention = _attend_to_all_views(self.unet)
        _add_skips(self.vae)
        self.adapted = _adapt(self.vae)
        self.vae.requires_grad_(False)
        for name, parameter in self.vae.named_parameters():
            parameter.requires_grad_(is_learned(name))
        betas = torch.linspace(_FIRST_BETA**0.5, _LAST_BETA**0.5, _STEPS, dtype=torch.float64).square()
        kept = float((1 - betas).cumprod(0)[TIMESTEP])
        self._signal, self._noise = math.sqrt(kept), math.sqrt(1 - kept)

    def forward(self, views: torch.Tensor, further: torch.Tensor | None = None) -> torch.Tensor:
        """(B, 3, H, W) the first view without artefacts, not clipped.

        Sides have to be multiples of :meth:`multiple`.

        Args:
            views: (B, V, 3, H, W), all in [0, 1].
            further: (B, V', 4, h, w) views that :meth:`latents_of` encoded before.
        """
        batch, encoded = views.shape[:2]
        with torch.no_grad():
            latents, kept = self._encoded(views.flatten(0, 1) * 2 - 1)
        count = encoded
        if further is not None:
            latents = torch.cat([latents.view(batch, encoded, *latents.shape[1:]), further], dim=1).flatten(0, 1)
            count += further.shape[1]
        for processor in self._attention:
            processor.views = count
        prompt = self.prompt.expand(batch * count, -1, -1)
        noise = self.unet(latents, TIMESTEP, encoder_hidden_states=prompt, return_dict=False)[0]
        clean = (latents - self._noise * noise) / self._signal
        # The decoder handles images independently, so the reference need not be decoded.
        decoded = self._decoded(clean[::count], [each[::encoded] for each in kept])
        return (decoded + 1) / 2

    @torch.no_grad()
    def latents_of(self, views: torch.Tensor) -> torch.Tensor:
        """(B, V, 4, h, w) of views (B, V, 3, H, W). They stay the same in training: the encoder is frozen."""
        latents, _ = self._encoded(views.flatten(0, 1) * 2 - 1)
        return latents.view(*views.shape[:2], *latents.shape[1:])

    def compile_parts(self, cache_dir: Path | None, backend: str = INDUCTOR) -> None:
        """Compiles the U-Net and both halves of the autoencoder, but not copies of it; see :func:`compile_network`."""
        compile_network(self.unet, cache_dir, backend)
        self.vae.to(memory_format=torch.channels_last)
        self._encoded = compile_function(self._encoded, cache_dir, backend)  # type: ignore[method-assign]
        self._decoded = compile_function(self._decoded, cache_dir, backend)  # type: ignore[method-assign]

    def multiple(self) -> int:
        """Both sides of an image must be multiples of this."""
        return int(2 ** (len(self.vae.config.block_out_channels) + len(self.unet.config.block_out_channels) - 2))

    def _encoded(self, pictures: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Scaled latents, and the input of each encoder block."""
        encoder, kept = self.vae.encoder, []
        values = encoder.conv_in(pictures)
        for block in encoder.down_blocks:
            kept.append(values)
            values = block(values)
        values = encoder.conv_out(encoder.conv_act(encoder.conv_norm_out(encoder.mid_block(values))))
        mean = self.vae.quant_conv(values).chunk(2, dim=1)[0]
        return mean * self.vae.config.scaling_factor, kept

    def _decoded(self, latents: torch.Tensor, kept: list[torch.Tensor]) -> torch.Tensor:
        decoder = self.vae.decoder
        values = decoder.mid_block(decoder.conv_in(self.vae.post_quant_conv(latents / self.vae.config.scaling_factor)))
        for number, (block, beside) in enumerate(zip(decoder.up_blocks, reversed(kept), strict=True), start=1):
            values = block(values + getattr(decoder, f"skip_conv_{number}")(beside))
        answer: torch.Tensor = decoder.conv_out(decoder.conv_act(decoder.conv_norm_out(values)))
        return answer


def is_learned(name: str) -> bool:
    """Whether a parameter of the autoencoder is trained: those of adapters and skips."""
    return "lora" in name or "skip" in name


def padded(views: torch.Tensor, multiple: int) -> torch.Tensor:
    """(B, V, 3, H, W) padded at the right and bottom until both sides are multiples."""
    height, width = views.shape[-2:]
    flat = functional.pad(views.flatten(0, 1), (0, -width % multiple, 0, -height % multiple), mode="replicate")
    return flat.reshape(*views.shape[:3], *flat.shape[-2:])


def _low_rank(layer: nn.Conv2d | nn.Linear, rank: int) -> tuple[Any, Any]:
    if isinstance(layer, nn.Linear):
        return nn.Linear(layer.in_features, rank, bias=False), nn.Linear(rank, layer.out_features, bias=False)
    down = nn.Conv2d(
        layer.in_channels, rank, layer.kernel_size, layer.stride, layer.padding, bias=False  # type: ignore[arg-type]
    )  # fmt: skip
    return down, nn.Conv2d(rank, layer.out_channels, 1, bias=False)


def _attend_to_all_views(unet: Any) -> list[ViewAttention]:
    """Makes the self-attention of all blocks see all views; leaves the cross-attention to the prompt unchanged."""
    shared = {name: ViewAttention(each) for name, each in unet.attn_processors.items() if ".attn1." in name}
    # Pass a copy, because diffusers empties the dictionary.
    unet.set_attn_processor({**unet.attn_processors, **shared})
    return list(shared.values())


def _add_skips(vae: Any) -> None:
    widths = list(vae.config.block_out_channels)
    beside = [*widths[-2::-1], widths[0]]
    given = [widths[-1], *widths[:0:-1]]
    for number, (inside, outside) in enumerate(zip(beside, given, strict=True), start=1):
        skip = nn.Conv2d(inside, outside, 1, bias=False)
        nn.init.constant_(skip.weight, _SKIP_WEIGHT)
        vae.decoder.add_module(f"skip_conv_{number}", skip)


def _adapt(vae: Any) -> list[str]:
    """Adds adapters to the decoder's layers; returns their names below the VAE."""
    names = [
        f"decoder.{name}"
        for name, module in vae.decoder.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and _is_target(name)
    ]
    for name in names:
        parent, _, last = name.rpartition(".")
        holder = vae.get_submodule(parent)
        adapted = Adapted(vae.get_submodule(name))
        if isinstance(holder, nn.ModuleList):
            holder[int(last)] = adapted
        else:
            setattr(holder, last, adapted)
    return names


def _is_target(name: str) -> bool:
    return "skip_conv_" in name or any(name == each or name.endswith("." + each) for each in _TARGETS)
