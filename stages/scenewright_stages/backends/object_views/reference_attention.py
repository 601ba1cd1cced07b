"""Reference-only attention: a UNet that looks at one picture while it paints another.

The UNet runs twice a step. On the reference it writes down what each self-attention attends to; on the picture being
painted, each of them attends to its own values and to those of the reference at the same layer. No weights are added.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor

_SELF_ATTENTION = "attn1.processor"


class ReferenceMemory:
    """What self-attentions have seen of the reference; `mode` says whether they write or read it now."""

    def __init__(self) -> None:
        self.mode: Literal["off", "write", "read"] = "off"
        self.seen: dict[str, Tensor] = {}

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Inside, the UNet looks at the reference."""
        self.seen.clear()
        yield from self._set("write")

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Inside, the UNet paints, with a view of the reference that it has seen last."""
        yield from self._set("read")
        self.seen.clear()

    def _set(self, mode: Literal["write", "read"]) -> Iterator[None]:
        self.mode = mode
        try:
            yield
        finally:
            self.mode = "off"


class ReferenceAttention:
    """A processor of diffusers for one self-attention.

    Args:
        name: of the layer, under which it writes.
        memory: shared by all of them.
        inner: the processor that attends.
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
        """What the layer answers, (B, N, C)."""
        own = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        if self._memory.mode == "write":
            self._memory.seen[self._name] = own
        elif self._memory.mode == "read":
            own = torch.cat([own, self._memory.seen[self._name]], dim=1)
        answer: Tensor = self._inner(attn, hidden_states, own, attention_mask, **further)
        return answer


def attach(unet: Any) -> ReferenceMemory:
    """Put reference-only attention into a ``UNet2DConditionModel``; the other attentions stay as they are."""
    memory = ReferenceMemory()
    unet.set_attn_processor(
        {
            name: ReferenceAttention(name, memory, processor) if name.endswith(_SELF_ATTENTION) else processor
            for name, processor in unet.attn_processors.items()
        }
    )
    return memory
