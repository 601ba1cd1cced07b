"""Accelerates networks on a GPU: float8 linear layers, compilation, and CUDA graphs for whole steps.

Backends and trainers call this module, which decides when to compile and where to cache compiled code. A transformer is
compiled block by block ("regional compilation" in PyTorch's documentation). FLUX has 19 double and 38 single blocks of
only two kinds: two compilations serve all 57, and a new size costs seconds instead of minutes. Networks without
repeated blocks are compiled whole, in channels-last layout, which speeds up convolutions.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch
from torch import nn

from scenewright_stages.backends.runtime.loading import ModelContext
from scenewright_stages.vision.cuda_graphs import ReplayedCalls

BLOCKS, NETWORK, NONE = "blocks", "network", "none"
"""Values of the option ``compile``: block by block, as a whole, or not at all."""
COMPILE = "compile"
EAGER, COMPILED = "eager", "compiled"
"""Values of the option ``begin``: run eagerly while a child process compiles, or compile at the first call."""
BEGIN = "begin"
INDUCTOR, INDUCTOR_OPTIONS = "inductor", {"deterministic": True}
"""The compiler, and what blocks ask of it: to choose no kernel by timing where the choice rounds differently."""

# The tensor cores multiply float8 in tiles of 16.
_FLOAT8_TILE = 16
_LARGEST_FLOAT8 = 448.0
_TINY = 1e-12
# A job sees a few image sizes (outpainted canvas, coarse frames); PyTorch's own limit of 8 counts every block.
_RECOMPILE_LIMIT = 64

ModuleT = TypeVar("ModuleT", bound=nn.Module)
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def compiles_by_default(device: str, offload: str = NONE) -> bool:
    """Whether a backend compiles by default: on a GPU without offloading."""
    return device != "cpu" and offload == NONE


def compile_option(context: ModelContext, how: str, offload: str = NONE) -> str:
    """The option ``compile`` of a backend: the spec's value, or else `how` if worthwhile, otherwise ``none``."""
    return str(context.option(COMPILE, how if compiles_by_default(context.device, offload) else NONE))


def begins_eagerly(context: ModelContext, compiled: str) -> bool:
    """Whether a network runs eagerly until its code is compiled (see :mod:`.compile_beside`): only where asked for.

    Args:
        context: its option ``begin`` decides.
        compiled: the value of ``compile``.
    """
    return compiled != NONE and context.option(BEGIN, COMPILED) == EAGER


class Float8Linear(nn.Module):
    """A linear layer with float8 weights, one scale per row; inputs are quantised row by row on the fly.

    The weights are plain tensors, not a tensor subclass. All layers of a kind are then the same code for the compiler,
    so it compiles one block of each kind instead of every block.

    Args:
        linear: provides the weights.
        device: target device.
    """

    weight: torch.Tensor
    scale: torch.Tensor

    def __init__(self, linear: nn.Linear, device: str) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight, scale = _as_float8(linear.weight.detach().to(device))
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale.T.contiguous())
        self.bias = None if linear.bias is None else nn.Parameter(linear.bias.detach().to(device), False)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """(..., out) in the dtype of the values (..., in)."""
        rows, scale = _as_float8(values.reshape(-1, self.in_features))
        made = torch._scaled_mm(
            rows, self.weight.T, scale, self.scale, bias=self.bias, out_dtype=values.dtype, use_fast_accum=True
        )
        return made.view(*values.shape[:-1], self.out_features)


def quantise_to_float8(transformer: nn.Module, device: str) -> None:
    """Converts the blocks' linear layers to float8, with inputs quantised on the fly.

    Layers are moved to ``device`` and quantised one by one, so the bf16 model need not fit there. Embedders and the
    output projection stay bf16, because they are small and most sensitive.
    """
    chosen = [name for name, module in transformer.named_modules() if is_block_linear(module, name)]
    for name in chosen:
        parent, _, last = name.rpartition(".")
        linear = transformer.get_submodule(name)
        assert isinstance(linear, nn.Linear)
        transformer.get_submodule(parent).register_module(last, Float8Linear(linear, device))


def _as_float8(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, C) float8 and (N, 1) float32 scales whose product approximates the rows (N, C)."""
    wide = rows.float()
    scale = wide.abs().amax(dim=1, keepdim=True).clamp(min=_TINY) / _LARGEST_FLOAT8
    return (wide / scale).clamp(-_LARGEST_FLOAT8, _LARGEST_FLOAT8).to(torch.float8_e4m3fn), scale


def is_block_linear(module: nn.Module, name: str) -> bool:
    """Whether a module is a linear layer inside a transformer block, with sides divisible by the float8 tile."""
    inside_block = "transformer_blocks." in name
    if not (inside_block and isinstance(module, nn.Linear)):
        return False
    return module.in_features % _FLOAT8_TILE == 0 and module.out_features % _FLOAT8_TILE == 0


def block_options(backend: str) -> dict[str, Any]:
    """How ``torch.compile`` is called for blocks.

    With kernels chosen by timing, two fills of one process differed by 0.035 of 1, and a cache of another machine held
    other code. Without, fills are equal from process to process, as fast, and compiled sooner.

    Args:
        backend: only inductor knows the choice.
    """
    chosen: dict[str, Any] = {"options": dict(INDUCTOR_OPTIONS)} if backend == INDUCTOR else {}
    return {"backend": backend, "fullgraph": True, **chosen}


def network_options(backend: str) -> dict[str, Any]:
    """How ``torch.compile`` is called for whole networks and functions: once for each size."""
    return {"backend": backend, "dynamic": False}


def compile_blocks(transformer: Any, cache_dir: Path | None, backend: str = INDUCTOR) -> None:
    """Compiles every kind of block on first use, and caches the code in the model cache.

    Args:
        transformer: a diffusers model that defines ``_repeated_blocks``.
        cache_dir: the model cache; None leaves PyTorch's own cache folder.
        backend: a ``torch.compile`` backend.
    """
    prepare_compiler(cache_dir)
    transformer.compile_repeated_blocks(**block_options(backend))


def compile_network(network: ModuleT, cache_dir: Path | None, backend: str = INDUCTOR) -> ModuleT:
    """Compiles a whole network in place on first use, once per combination of sizes.

    Args:
        network: its weights become channels-last.
        cache_dir, backend: as in :func:`compile_blocks`.
    """
    prepare_compiler(cache_dir)
    network.to(memory_format=torch.channels_last)
    network.compile(**network_options(backend))
    return network


def compile_function(
    function: Callable[Arguments, Result], cache_dir: Path | None, backend: str = INDUCTOR
) -> Callable[Arguments, Result]:
    """A compiled function of tensors; arguments as in :func:`compile_blocks`."""
    prepare_compiler(cache_dir)
    return torch.compile(function, **network_options(backend))


def prepare_compiler(cache_dir: Path | None) -> None:
    """Sets the compiler's limits, and with a model cache its folder."""
    if cache_dir is not None:
        keep_compile_cache(cache_dir)
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _RECOMPILE_LIMIT)


def replay_steps(transformer: nn.Module) -> ReplayedCalls:
    """Launches all kernels of a denoising step as one CUDA graph.

    A step launches some 1,500 kernels, which takes a slow host longer than the GPU needs. Does nothing on other
    devices.
    """
    replayed = ReplayedCalls(transformer.forward)
    transformer.forward = replayed
    return replayed


def keep_compile_cache(cache_dir: Path) -> Path | None:
    """Points inductor and Triton at a folder of the model cache, so that the next Pod need not compile.

    Environment variables that somebody set take precedence. PyTorch's own default does not: PyTorch writes it into the
    environment when it is imported. Compiled kernels are code, so the cache must be as trusted as the image.

    Returns:
        The folder; None if it is not writable (PyTorch then uses its own below TMPDIR).
    """
    # Imported late: it loads the compiler.
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    folder = cache_dir / "compiled" / toolchain()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    if not os.access(folder, os.W_OK):
        return None
    if os.environ.get("TORCHINDUCTOR_CACHE_DIR") in (None, default_cache_dir()):
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
    os.environ.setdefault("TRITON_CACHE_DIR", str(folder / "triton"))
    return folder


def toolchain() -> str:
    """Identifies the toolchain: compiled code is valid only for one PyTorch version and one kind of device."""
    if not torch.cuda.is_available():
        return f"torch-{torch.__version__}-cpu"
    major, minor = torch.cuda.get_device_capability()
    return f"torch-{torch.__version__}-sm{major}{minor}"
