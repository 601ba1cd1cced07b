"""Reference-only attention: conditions a UNet on a reference image.

The UNet runs twice per step. On the reference, each self-attention stores its hidden states; on the generated image,
each one attends to its own states and to those of the reference at the same layer. It adds no weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor

_SELF_ATTENTION = "attn1.processor"


class ReferenceMemory:
    """The reference's hidden states by layer; `mode` says whether self-attentions write or read them."""

    def __init__(self) -> None:
        self.mode: Literal["off", "write", "read"] = "off"
        self.seen: dict[str, Tensor] = {}

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Context in which the UNet processes the reference and stores its states."""
        self.seen.clear()
        yield from self._set("write")

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Context in which the UNet denoises, attending to the last stored reference."""
        yield from self._set("read")
        self.seen.clear()

    def _set(self, mode: Literal["write", "read"]) -> Iterator[None]:
        self.mode = mode
        try:
            yield
        finally:
            self.mode = "off"


class ReferenceAttention:
    """A diffusers attention processor for one self-attention.

    Args:
        name: of the layer, the key in the memory.
        memory: shared by all layers.
        inner: the wrapped processor.
    """

    def __init__(self, name: str, memory: ReferenceMemory, inner: Any) -> None:
        self._name, self._memory, self._inner = name, memory, inner

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **further: Any,
    ) -> Tensor:
        """The layer's output, (B, N, C)."""
        own = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        if self._memory.mode == "write":
            self._memory.seen[self._name] = own
        elif self._memory.mode == "read":
            own = torch.cat([own, self._memory.seen[self._name]], dim=1)
        answer: Tensor = self._inner(attn, hidden_states, own, attention_mask, **further)
        return answer


def attach(unet: Any) -> ReferenceMemory:
    """Adds reference-only attention to the self-attentions of a ``UNet2DConditionModel``."""
    memory = ReferenceMemory()
    unet.set_attn_processor(
        {
            name: ReferenceAttention(name, memory, processor) if name.endswith(_SELF_ATTENTION) else processor
            for name, processor in unet.attn_processors.items()
        }
    )
    return memory
