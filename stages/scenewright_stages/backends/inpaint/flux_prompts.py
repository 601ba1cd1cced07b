"""Text conditioning of FLUX: T5 and CLIP embeddings, computed once per prompt and cached.

VistaDream conditions its fills on an empty prompt. Its embedding comes from one of two sources, which is recorded:

* the text encoders, if the cache has them; they are loaded only for encoding and then freed;
* an ``empty_prompt.safetensors`` beside ``model_index.json`` (written by :func:`store_empty_prompt`), so that a cache
  without the 10 GB of encoders still has the true embedding of the empty prompt.

With neither, loading is refused, because the model was never trained on an embedding of zeros.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from scenewright_stages.backends.runtime.pretrained import quiet_diffusers
from scenewright_stages.backends.runtime.tensors import free_memory
from scenewright_stages.contract.errors import ConfigurationError

EMPTY_PROMPT_FILE = "empty_prompt.safetensors"
# FLUX.1 [dev] and its Fill model are trained with T5 sequences padded to this length.
_SEQUENCE_LENGTH = 512


@dataclass(frozen=True)
class PromptEmbeddings:
    """Text conditioning of the transformer.

    Attributes:
        sequence: (1, tokens, width) T5 hidden states.
        pooled: (1, width) CLIP pooled output.
    """

    sequence: torch.Tensor
    pooled: torch.Tensor

    def to(self, device: torch.device | str, dtype: torch.dtype) -> PromptEmbeddings:
        """A copy on another device and in another dtype."""
        return PromptEmbeddings(self.sequence.to(device, dtype), self.pooled.to(device, dtype))


@dataclass
class FluxPrompts:
    """Cached embeddings by prompt.

    Attributes:
        origin: source of the embeddings, for the record.
        encode_text: encodes a prompt; None without text encoders.
    """

    origin: str
    encode_text: Callable[[str], PromptEmbeddings] | None
    _known: dict[str, PromptEmbeddings] = field(default_factory=dict)

    def encode(self, prompt: str, device: torch.device | str, dtype: torch.dtype) -> PromptEmbeddings:
        """The embeddings of ``prompt``.

        Raises:
            ConfigurationError: the prompt is not empty, but there are no text encoders.
        """
        if prompt not in self._known:
            if self.encode_text is None:
                raise ConfigurationError(
                    "prompt",
                    prompt,
                    "the cached weights have no text encoders, so only an empty prompt works; "
                    "fetch them with their optional files, or leave the prompt empty",
                )
            self._known[prompt] = self.encode_text(prompt)
        return self._known[prompt].to(device, dtype)


def load_prompts(
    folder: Path, weights_id: str, *, encoders_present: bool, device: str, dtype: torch.dtype
) -> FluxPrompts:
    """The best source of embeddings in the folder.

    Args:
        folder: the pipeline's folder.
        weights_id: name of the weights for messages, because a Hugging Face cache folder is named after a commit.
        encoders_present: whether it has the text encoders and tokenizers.
        device, dtype: of the encoders.

    Raises:
        ConfigurationError: the folder has no source.
    """
    stored = folder / EMPTY_PROMPT_FILE
    if encoders_present:
        return FluxPrompts(
            "T5 and CLIP from the weights' own folder", lambda prompt: encode_prompt(folder, prompt, device, dtype)
        )
    if stored.is_file():
        return FluxPrompts("stored embeddings of the empty prompt", None, {"": _read_stored(stored)})
    raise ConfigurationError(
        "prompt",
        "",
        f"{weights_id} has neither its text encoders nor {EMPTY_PROMPT_FILE}, the embedding of the empty prompt. "
        "Fetch the weights with their optional files, or make the embedding once where the encoders are: "
        f"scenewright models --store-empty-prompt {weights_id}",
    )


@torch.no_grad()
def encode_prompt(
    folder: Path, prompt: str, device: str, dtype: torch.dtype, pipeline: str = "FluxFillPipeline"
) -> PromptEmbeddings:
    """Loads both text encoders, encodes one prompt, and frees them.

    Args:
        folder: of the weights.
        prompt: the text.
        device, dtype: where and in which type the encoders run.
        pipeline: diffusers' class whose weights they are.

    Returns:
        embeddings on the CPU, in ``dtype``.
    """
    encoders = (
        getattr(quiet_diffusers(), pipeline)
        .from_pretrained(folder, dtype=dtype, local_files_only=True, use_safetensors=True, transformer=None, vae=None)
        .to(device)
    )
    sequence, pooled, _ = encoders.encode_prompt(
        prompt=prompt, prompt_2=prompt, device=device, max_sequence_length=_SEQUENCE_LENGTH
    )
    embeddings = PromptEmbeddings(sequence.cpu(), pooled.cpu())
    del encoders
    free_memory()
    return embeddings


def store_empty_prompt(folder: Path, device: str = "cpu") -> Path:
    """Writes the empty prompt's embeddings beside the pipeline, so that its encoders can be deleted.

    Returns:
        path of the written safetensors file (bf16, about 4 MB for the published encoders).
    """
    from safetensors.torch import save_file

    embeddings = encode_prompt(folder, "", device, torch.bfloat16)
    path = folder / EMPTY_PROMPT_FILE
    save_file({"sequence": embeddings.sequence.contiguous(), "pooled": embeddings.pooled.contiguous()}, path)
    return path


def _read_stored(path: Path) -> PromptEmbeddings:
    from safetensors.torch import load_file

    tensors = load_file(path)
    return PromptEmbeddings(tensors["sequence"], tensors["pooled"])


if __name__ == "__main__":
    print(store_empty_prompt(Path(sys.argv[1])))
