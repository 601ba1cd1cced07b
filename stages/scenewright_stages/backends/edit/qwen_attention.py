"""The attention of Qwen-Image's blocks, in real arithmetic that the compiler can fuse.

diffusers applies rotary embeddings by complex multiplication, for which the compiler generates no code, so every
product becomes a separate kernel over a block's largest tensors. Here a rotation is two real products, which the
compiler fuses with the preceding normalisation. Results are equal up to rounding.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


class RealRotations:
    """An attention processor for ``QwenImageTransformerBlock``: text and picture attend to each other."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        encoder_hidden_states_mask: Tensor | None = None,
        attention_mask: Tensor | None = None,
        image_rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """(B, L, C) outputs for image and text; arguments are named as in diffusers."""
        assert image_rotary_emb is not None
        assert attention_mask is None
        by_picture, by_text = image_rotary_emb
        picture = _projected(hidden_states, attn.to_q, attn.to_k, attn.to_v, attn.norm_q, attn.norm_k, by_picture)
        text = _projected(
            encoder_hidden_states,
            attn.add_q_proj,
            attn.add_k_proj,
            attn.add_v_proj,
            attn.norm_added_q,
            attn.norm_added_k,
            by_text,
        )
        query, key, value = (torch.cat(pair, dim=1).transpose(1, 2) for pair in zip(text, picture, strict=True))
        mask = _joint(encoder_hidden_states_mask, picture[0])
        seen = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        answer = seen.transpose(1, 2).flatten(2)
        words = encoder_hidden_states.shape[1]
        return attn.to_out[1](attn.to_out[0](answer[:, words:])), attn.to_add_out(answer[:, :words])


def use_real_rotations(transformer: Any) -> None:
    """Gives every block of a ``QwenImageTransformer2DModel`` this attention."""
    models: Any = importlib.import_module("diffusers.models.transformers.transformer_qwenimage")
    for block in transformer.transformer_blocks:
        # Replace only the processor reimplemented here; others may do more.
        if isinstance(block.attn.processor, models.QwenDoubleStreamAttnProcessor2_0):
            block.attn.set_processor(RealRotations())


def rotated(values: Tensor, rotations: Tensor) -> Tensor:
    """Neighbouring pairs of channels rotated in their plane.

    Args:
        values: (B, L, heads, D).
        rotations: (L, D / 2) complex numbers of length 1.
    """
    cosine, sine = torch.view_as_real(rotations).unsqueeze(1).unbind(-1)
    first, second = values.float().view(*values.shape[:-1], -1, 2).unbind(-1)
    pairs = torch.stack([first * cosine - second * sine, first * sine + second * cosine], dim=-1)
    return pairs.flatten(-2).to(values.dtype)


def _projected(
    tokens: Tensor, to_query: Any, to_key: Any, to_value: Any, norm_query: Any, norm_key: Any, rotations: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values, (B, L, heads, D)."""
    width = 2 * rotations.shape[-1]
    query, key, value = (each(tokens).unflatten(-1, (-1, width)) for each in (to_query, to_key, to_value))
    return rotated(norm_query(query), rotations), rotated(norm_key(key), rotations), value


def _joint(words: Tensor | None, picture: Tensor) -> Tensor | None:
    """(B, 1, 1, L) bool attention mask: valid text tokens, and all image tokens."""
    if words is None:
        return None
    everything = torch.ones(picture.shape[:2], dtype=torch.bool, device=picture.device)
    return torch.cat([words.bool(), everything], dim=1)[:, None, None]
