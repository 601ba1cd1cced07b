"""Making the FLUX transformer faster: float8 matrices, compiled blocks, and one launch for all kernels of a step.

Only whole blocks are compiled ("regional compilation" in PyTorch's documentation): the 19 double and 38
single blocks are two pieces of code, so two compilations serve all 57, and a new size costs seconds, not minutes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from scenewright_stages.vision.cuda_graphs import ReplayedCalls

# The tensor cores multiply float8 in tiles of 16.
_FLOAT8_TILE = 16
# A job sees a few image sizes (outpainted canvas, coarse frames); PyTorch's own limit of 8 counts every block.
_RECOMPILE_LIMIT = 64


def quantise_to_float8(transformer: nn.Module, device: str) -> None:
    """Hold the blocks' linear layers as float8 (one scale per row) and quantise their inputs on the fly.

    Layers are moved to ``device`` and quantised one by one, so that the bf16 model never has to fit there.
    Embedders and the output projection stay bf16: they are small and the most sensitive.

    Raises:
        ModuleNotFoundError: torchao is not installed.
    """
    from torchao.quantization import Float8DynamicActivationFloat8WeightConfig, PerRow, quantize_

    config = Float8DynamicActivationFloat8WeightConfig(granularity=PerRow())
    quantize_(transformer, config, filter_fn=is_block_linear, device=device)


def is_block_linear(module: nn.Module, name: str) -> bool:
    """Whether a module is a linear layer inside a transformer block, with sides that float8 tiles divide."""
    inside_block = "transformer_blocks." in name
    if not (inside_block and isinstance(module, nn.Linear)):
        return False
    return module.in_features % _FLOAT8_TILE == 0 and module.out_features % _FLOAT8_TILE == 0


def compile_blocks(transformer: Any, cache_dir: Path | None, backend: str = "inductor") -> None:
    """Compile every kind of block on its first use, with the results kept in the model cache.

    Args:
        transformer: a diffusers model that names its ``_repeated_blocks``.
        cache_dir: the model cache; None leaves PyTorch's own cache folder.
        backend: a ``torch.compile`` backend.
    """
    if cache_dir is not None:
        keep_compile_cache(cache_dir)
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _RECOMPILE_LIMIT)
    transformer.compile_repeated_blocks(backend=backend, fullgraph=True)


def replay_steps(transformer: nn.Module) -> None:
    """Launch all kernels of a denoising step as one CUDA graph.

    A step launches some 1,500 kernels, which keeps a slow host busier than the GPU. A device other than CUDA is left
    as it is.
    """
    transformer.forward = ReplayedCalls(transformer.forward)


def keep_compile_cache(cache_dir: Path) -> Path | None:
    """Point inductor and Triton at a folder of the model cache, so that the next Pod compiles nothing.

    A value that the environment already has is respected. Compiled kernels are code: the cache must be as
    trusted as the image.

    Returns:
        the folder; None if it cannot be written (PyTorch then uses its own, below TMPDIR).
    """
    folder = cache_dir / "compiled" / _toolchain()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    if not os.access(folder, os.W_OK):
        return None
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder))
    os.environ.setdefault("TRITON_CACHE_DIR", str(folder / "triton"))
    return folder


def _toolchain() -> str:
    """Compiled code is only good for one PyTorch version and one kind of device."""
    if not torch.cuda.is_available():
        return f"torch-{torch.__version__}-cpu"
    major, minor = torch.cuda.get_device_capability()
    return f"torch-{torch.__version__}-sm{major}{minor}"
