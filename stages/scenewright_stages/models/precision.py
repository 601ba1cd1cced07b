"""Names of precisions as a spec writes them."""

from __future__ import annotations

import torch

_DTYPES = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    # Only the large matrices are float8; everything around them is bf16.
    "fp8": torch.bfloat16,
}


def torch_dtype(precision: str) -> torch.dtype:
    """The type in which tensors are held at that precision. KeyError for an unknown name."""
    return _DTYPES[precision]
