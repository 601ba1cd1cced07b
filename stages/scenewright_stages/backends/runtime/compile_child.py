"""The child process that compiles modules for its parent, and what the two tell each other.

:mod:`.compile_beside` starts it. It compiles modules without their weights: these are inputs of the compiled code, so
the parent finds the same code in the cache. The parent sends one request per line on standard input, and the child
answers each with one byte on standard output. It ends when its standard input is closed, thus also with its parent.
"""

from __future__ import annotations

import copy
import io
import os
import pickle
import queue
import sys
import threading
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map_only

from scenewright_stages.backends.runtime.acceleration import prepare_compiler

DONE = b"."
"""The answer to a request."""
# `-P`: no module of the current folder.
COMMAND = (sys.executable, "-P", "-c", f"from {__name__} import main; main()")
# Lower than the parent, which computes samples, but above an idle process.
_NICENESS = 10
_LONGEST_MESSAGE = 1000


@dataclass(frozen=True)
class TensorFacts:
    """What compiled code depends on in a tensor."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: str
    requires_grad: bool

    @classmethod
    def of(cls, tensor: torch.Tensor) -> TensorFacts:
        """The facts of a tensor."""
        return cls(tuple(tensor.shape), tensor.stride(), tensor.dtype, str(tensor.device), tensor.requires_grad)

    def zeros(self) -> torch.Tensor:
        """A tensor like it."""
        made = torch.empty_strided(self.size, self.stride, dtype=self.dtype, device=self.device).zero_()
        return made.requires_grad_(self.requires_grad)


@dataclass(frozen=True)
class CallFacts:
    """What compiled code depends on in a call.

    Attributes:
        unit: number of the called module.
        arguments: positional and named arguments, with :class:`TensorFacts` for tensors.
        grad, inference: PyTorch's modes.
    """

    unit: int
    arguments: tuple[tuple[Any, ...], dict[str, Any]]
    grad: bool
    inference: bool

    @classmethod
    def of(cls, unit: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> CallFacts:
        """The facts of a call; call it in the modes of the call."""
        # Compiled code checks which arguments are the same tensor.
        known: dict[int, TensorFacts] = {}
        arguments = tree_map_only(
            torch.Tensor, lambda tensor: known.setdefault(id(tensor), TensorFacts.of(tensor)), (args, kwargs)
        )
        return cls(unit, arguments, torch.is_grad_enabled(), torch.is_inference_mode_enabled())

    def call(self, units: Sequence[nn.Module]) -> Any:
        """The module's results for zeros, whose making compiles it."""
        made: dict[int, torch.Tensor] = {}

        def zeros(facts: TensorFacts) -> torch.Tensor:
            if id(facts) not in made:
                made[id(facts)] = facts.zeros()
            return made[id(facts)]

        with torch.inference_mode(self.inference), torch.set_grad_enabled(self.grad):
            args, kwargs = tree_map_only(TensorFacts, zeros, self.arguments)
            return units[self.unit](*args, **kwargs)

    def passed_on(self, results: Any) -> CallFacts:
        """The call that the next block gets: arguments of a result's size and type have its strides."""
        tensors = [each for each in tree_leaves(results) if isinstance(each, torch.Tensor)]
        strides = {(tuple(tensor.shape), tensor.dtype): tensor.stride() for tensor in tensors}

        def laid_out(facts: TensorFacts) -> TensorFacts:
            return replace(facts, stride=strides.get((facts.size, facts.dtype), facts.stride))

        # The same facts stay the same object, since a tensor may be passed twice.
        known: dict[int, TensorFacts] = {}
        arguments = tree_map_only(
            TensorFacts, lambda facts: known.setdefault(id(facts), laid_out(facts)), self.arguments
        )
        return replace(self, arguments=arguments)


def compile_call(call: CallFacts, units: Sequence[nn.Module]) -> None:
    """Compiles a module for a call, and for those that follow from it.

    A compiled block may lay out its results otherwise than the eager one whose calls were watched, and the next block
    gets them.
    """
    seen = set[str]()
    while repr(call) not in seen:
        seen.add(repr(call))
        call = call.passed_on(call.call(units))


@dataclass(frozen=True)
class Job:
    """What the child compiles, and how.

    Attributes:
        modules: from :func:`without_weights`.
        device: of the weights.
        options: of ``Module.compile``.
        gpu_share: how much of the device's memory the child may take, 0 to 1; None on the CPU.
        threads: of PyTorch, on which code for the CPU depends.
        precision: of float32 products.
    """

    modules: tuple[bytes, ...]
    device: str
    options: dict[str, Any]
    gpu_share: float | None
    threads: int
    precision: str

    def units(self) -> list[nn.Module]:
        """The modules with weights of zeros, ready to be compiled by their first calls."""
        torch.set_num_threads(self.threads)
        # Even the default, once set, is another key in the compiler's cache.
        if torch.get_float32_matmul_precision() != self.precision:
            torch.set_float32_matmul_precision(self.precision)
        if self.gpu_share is not None:
            torch.cuda.set_per_process_memory_fraction(self.gpu_share, self.device)
        # The folder of the cache is in the environment.
        prepare_compiler(None)
        units = [_with_zeros(module, self.device) for module in self.modules]
        for unit in units:
            unit.compile(**self.options)
        return units


def without_weights(module: nn.Module) -> bytes:
    """A module as bytes that hold its structure, not its weights."""
    # A deep copy takes what is in its memo instead of copying, so no weight is copied.
    memo: dict[int, Any] = {id(tensor): _on_meta(tensor) for tensor in (*module.parameters(), *module.buffers())}
    stored = io.BytesIO()
    torch.save(copy.deepcopy(module, memo), stored)
    return stored.getvalue()


def _on_meta(tensor: torch.Tensor) -> torch.Tensor:
    empty = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
    return nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty


def _with_zeros(stored: bytes, device: str) -> nn.Module:
    # Only the parent's own modules are loaded.
    module: nn.Module = torch.load(io.BytesIO(stored), weights_only=False)
    made: dict[int, torch.Tensor] = {}
    for part in module.modules():
        tensors: tuple[dict[str, Any], ...] = (part._parameters, part._buffers)
        for held in tensors:
            for name, tensor in held.items():
                if tensor is not None:
                    held[name] = made.setdefault(id(tensor), _zeros_like(tensor, device))
    return module


def _zeros_like(tensor: torch.Tensor, device: str) -> torch.Tensor:
    # Not `to_empty`, which changes the strides of dimensions of size 1, and with them the key in the compiler's cache.
    zeros = replace(TensorFacts.of(tensor), device=device, requires_grad=False).zeros()
    return nn.Parameter(zeros, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else zeros


def as_line(request: Path | CallFacts) -> bytes:
    """A request as a line: the file of the job first, then calls."""
    return pickle.dumps(request).hex().encode() + b"\n"


def main() -> None:
    """Compiles what standard input asks for until it is closed."""
    os.nice(_NICENESS)
    # Libraries print; only answers may go to the parent.
    answers = os.dup(1)
    os.dup2(2, 1)
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    try:
        job: Job = pickle.loads(_request(lines).read_bytes())
        units = job.units()
        while True:
            compile_call(_request(lines), units)
            os.write(answers, DONE)
    except Exception as problem:
        traceback.print_exc()
        # On one line: the parent tells the last ones, and Dynamo's messages end with advice.
        message = " ".join(str(problem).split())[:_LONGEST_MESSAGE]
        print(f"{type(problem).__name__}: {message}", file=sys.stderr, flush=True)
        # A normal exit would crash on the thread that holds standard input.
        os._exit(1)


def _read(lines: queue.SimpleQueue[bytes]) -> None:
    for line in sys.stdin.buffer:
        lines.put(line)
    # The main thread may be compiling for minutes.
    os._exit(0)


def _request(lines: queue.SimpleQueue[bytes]) -> Any:
    return pickle.loads(bytes.fromhex(lines.get().decode()))
