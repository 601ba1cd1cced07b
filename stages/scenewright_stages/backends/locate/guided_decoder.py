"""SAM's mask decoder with PerSAM's guidance (Zhang et al. 2023), on the modules of transformers' ``SamModel``.

PerSAM pulls the prompt tokens towards the target. In the token-to-image attention, the similarity with the target is
added *after* the softmax, and the softmax is applied again; the target's embedding is added to the tokens before every
block and before the final attention. The arguments of the same names in transformers differ: ``attention_similarity``
enters the only softmax, and the final attention gets no embedding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Guidance:
    """PerSAM's guidance from the target.

    Attributes:
        similarity: (h * w,) in [0, 1], of each feature cell of the image with the target.
        embedding: (C,) mean feature of the target.
    """

    similarity: Tensor
    embedding: Tensor


def decode(
    model: Any, features: Tensor, sparse: Tensor, dense: Tensor, multimask: bool, guidance: Guidance | None = None
) -> tuple[Tensor, Tensor]:
    """Mask logits (M, h, w) and their estimated quality (M,) for one image; M is 3, or 1 without `multimask`.

    Args:
        model: a ``SamModel``.
        features: (1, C, h, w) of its image encoder.
        sparse: (1, 1, N, C) of its prompt encoder.
        dense: (1, C, h, w) of its prompt encoder.
        multimask: return three masks for ambiguous prompts.
        guidance: None for SAM itself.
    """
    decoder = model.mask_decoder
    outputs = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])[None, None]
    tokens, cells = _transformed(
        decoder.transformer,
        torch.cat([outputs, sparse.to(outputs.dtype)], dim=2),
        _in_rows(features + dense),
        _in_rows(model.get_image_wide_positional_embeddings()),
        guidance,
    )
    picture = cells.transpose(2, 3).reshape(features.shape)
    raised = decoder.activation(decoder.upscale_layer_norm(decoder.upscale_conv1(picture)))
    raised = decoder.activation(decoder.upscale_conv2(raised))[0]
    of_masks = tokens[0, 0, 1 : 1 + decoder.num_mask_tokens]
    weights = [each(token) for each, token in zip(decoder.output_hypernetworks_mlps, of_masks, strict=True)]
    masks = torch.einsum("mc,chw->mhw", torch.stack(weights), raised)
    quality = decoder.iou_prediction_head(tokens[:, :, 0])[0, 0]
    chosen = slice(1, None) if multimask else slice(0, 1)
    return masks[chosen], quality[chosen]


def _transformed(
    transformer: Any, prompt: Tensor, cells: Tensor, places: Tensor, guidance: Guidance | None
) -> tuple[Tensor, Tensor]:
    """Tokens and cells after the two-way transformer."""
    similarity = None if guidance is None else guidance.similarity
    target = None if guidance is None else guidance.embedding
    tokens = prompt
    for number, layer in enumerate(transformer.layers):
        if target is not None:
            tokens = tokens + target
            # As published: the first addition is in place, so the prompt's own part includes the target too.
            prompt = tokens if number == 0 else prompt
        tokens, cells = _block(layer, tokens, cells, prompt, places, similarity)
    query = tokens + prompt if target is None else tokens + prompt + target
    last = transformer.final_attn_token_to_image
    tokens = transformer.layer_norm_final_attn(tokens + _attended(last, query, cells + places, cells))
    return tokens, cells


def _block(
    layer: Any, tokens: Tensor, cells: Tensor, prompt: Tensor, places: Tensor, similarity: Tensor | None
) -> tuple[Tensor, Tensor]:
    """One block: token self-attention, token-to-image and image-to-token attention."""
    if layer.skip_first_layer_pe:
        tokens = _attended(layer.self_attn, tokens, tokens, tokens)
    else:
        query = tokens + prompt
        tokens = tokens + _attended(layer.self_attn, query, query, tokens)
    tokens = layer.layer_norm1(tokens)
    seen = _attended(layer.cross_attn_token_to_image, tokens + prompt, cells + places, cells, similarity)
    tokens = layer.layer_norm2(tokens + seen)
    tokens = layer.layer_norm3(tokens + layer.mlp(tokens))
    cells = layer.layer_norm4(
        cells + _attended(layer.cross_attn_image_to_token, cells + places, tokens + prompt, tokens)
    )
    return tokens, cells


def _attended(attention: Any, query: Tensor, key: Tensor, value: Tensor, similarity: Tensor | None = None) -> Tensor:
    """A ``SamAttention``; with a similarity, softmax, addition, and softmax again."""
    heads = attention.num_attention_heads

    def split(values: Tensor) -> Tensor:
        return values[0, 0].reshape(values.shape[2], heads, -1).transpose(0, 1)

    query, key, value = (
        split(project(values))
        for project, values in ((attention.q_proj, query), (attention.k_proj, key), (attention.v_proj, value))
    )
    weights = torch.softmax((query @ key.transpose(1, 2) * attention.scaling).float(), dim=-1)
    if similarity is not None:
        weights = torch.softmax(weights + similarity, dim=-1)
    joined = (weights.to(value.dtype) @ value).transpose(0, 1)
    return attention.out_proj(joined.reshape(1, 1, joined.shape[0], -1))  # type: ignore[no-any-return]


def _in_rows(picture: Tensor) -> Tensor:
    """(1, 1, h * w, C) of (1, C, h, w)."""
    return picture.flatten(2).transpose(1, 2)[:, None]
