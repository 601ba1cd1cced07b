"""PerSAM's guided decoding written out on SAM's weights by name, without any module of the library.

It follows the published method step by step: softmax, plus the similarity, softmax; the target's embedding before every
block, in place, and before the last attention.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

Weights = Mapping[str, Tensor]
HEADS = 2


def attention(w: Weights, name: str, q: Tensor, k: Tensor, v: Tensor, similarity: Tensor | None = None) -> Tensor:
    """(N, C) of (N, C) queries and (M, C) keys and values."""
    q, k, v = (
        functional.linear(each, w[f"{name}.{part}_proj.weight"], w[f"{name}.{part}_proj.bias"])
        for part, each in (("q", q), ("k", k), ("v", v))
    )
    found = []
    for head in range(HEADS):
        size = q.shape[1] // HEADS
        part = slice(head * size, (head + 1) * size)
        scores = (q[:, part] @ k[:, part].T / size**0.5).softmax(dim=1)
        if similarity is not None:
            scores = (scores + similarity).softmax(dim=1)
        found.append(scores @ v[:, part])
    return functional.linear(torch.cat(found, dim=1), w[f"{name}.out_proj.weight"], w[f"{name}.out_proj.bias"])


def norm(w: Weights, name: str, values: Tensor) -> Tensor:
    return functional.layer_norm(values, values.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], 1e-6)


def perceptron(w: Weights, name: str, values: Tensor) -> Tensor:
    for layer in ("proj_in", "layers.0", "proj_out"):
        values = functional.linear(values, w[f"{name}.{layer}.weight"], w[f"{name}.{layer}.bias"])
        values = values.relu() if layer != "proj_out" else values
    return values


def guided(
    w: Weights, features: Tensor, places: Tensor, sparse: Tensor, dense: Tensor, similarity: Tensor, target: Tensor
) -> Tensor:
    """(4, h, w) logits of (C, h, w) features, positions and dense prompt and (N, C) sparse prompt."""
    channels, height, width = features.shape
    tokens = torch.cat([w["mask_decoder.iou_token.weight"], w["mask_decoder.mask_tokens.weight"], sparse]).clone()
    cells = (features + dense).flatten(1).T
    where = places.flatten(1).T
    prompt = tokens
    base = "mask_decoder.transformer"
    for number in range(2):
        tokens += target  # in place: `prompt` is the same tensor in the first block
        name = f"{base}.layers.{number}"
        if number == 0:
            tokens = attention(w, f"{name}.self_attn", tokens, tokens, tokens)
        else:
            query = tokens + prompt
            tokens = tokens + attention(w, f"{name}.self_attn", query, query, tokens)
        tokens = norm(w, f"{name}.layer_norm1", tokens)
        seen = attention(w, f"{name}.cross_attn_token_to_image", tokens + prompt, cells + where, cells, similarity)
        tokens = norm(w, f"{name}.layer_norm2", tokens + seen)
        hidden = functional.linear(tokens, w[f"{name}.mlp.lin1.weight"], w[f"{name}.mlp.lin1.bias"]).relu()
        hidden = functional.linear(hidden, w[f"{name}.mlp.lin2.weight"], w[f"{name}.mlp.lin2.bias"])
        tokens = norm(w, f"{name}.layer_norm3", tokens + hidden)
        seen = attention(w, f"{name}.cross_attn_image_to_token", cells + where, tokens + prompt, tokens)
        cells = norm(w, f"{name}.layer_norm4", cells + seen)
    query = tokens + prompt + target
    tokens = tokens + attention(w, f"{base}.final_attn_token_to_image", query, cells + where, cells)
    tokens = functional.layer_norm(
        tokens, (channels,), w[f"{base}.layer_norm_final_attn.weight"], w[f"{base}.layer_norm_final_attn.bias"]
    )
    picture = cells.T.reshape(1, channels, height, width)
    up = "mask_decoder.upscale_conv"
    picture = functional.conv_transpose2d(picture, w[f"{up}1.weight"], w[f"{up}1.bias"], stride=2)
    picture = norm(w, "mask_decoder.upscale_layer_norm", picture.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    picture = functional.gelu(picture)
    picture = functional.gelu(functional.conv_transpose2d(picture, w[f"{up}2.weight"], w[f"{up}2.bias"], stride=2))[0]
    masks = [
        perceptron(w, f"mask_decoder.output_hypernetworks_mlps.{number}", tokens[1 + number]) for number in range(4)
    ]
    return torch.einsum("mc,chw->mhw", torch.stack(masks), picture)
