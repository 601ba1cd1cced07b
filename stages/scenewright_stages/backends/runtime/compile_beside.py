"""Runs a network eagerly while a child process compiles it, and changes over between two samples.

Compiling FLUX's blocks takes half a minute and SEVA's network two. With compiled code in the model cache a backend
compiles at its first call, which takes seconds. Without, its first samples run eagerly: a child process of low priority
(:mod:`.compile_child`) compiles into the same cache, and the first sample that begins afterwards compiles from there. A
sample never changes in between, so each is wholly eager or wholly compiled. Whatever goes wrong with the child, the
network is compiled in this process instead.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from scenewright_stages.backends.runtime.acceleration import (
    INDUCTOR,
    block_options,
    compile_blocks,
    compile_network,
    network_options,
    prepare_compiler,
    toolchain,
)
from scenewright_stages.backends.runtime.capability import BackendRecord
from scenewright_stages.backends.runtime.compile_child import (
    COMMAND,
    CallFacts,
    Job,
    as_line,
    compile_call,
    without_weights,
)
from scenewright_stages.backends.runtime.tensors import free_memory

NOTE = "The network ran eagerly, at least at first, because its code was still being compiled."
"""For the record of a sample."""
# More sizes than that are compiled after the change-over, as in a process that began compiled.
_MOST_CALLS = 16
# The parent has not reached its peak yet when the child starts.
_SHARE_OF_FREE_MEMORY = 0.25
_LINES_OF_A_FAILURE = 3


def blocks_beside(transformer: Any, cache_dir: Path | None, backend: str = INDUCTOR) -> CompileBeside:
    """Like :func:`~.acceleration.compile_blocks`, but beside the run."""
    repeated = [module for module in transformer.modules() if type(module).__name__ in transformer._repeated_blocks]
    units = list({type(module): module for module in reversed(repeated)}.values())[::-1]
    return CompileBeside(
        units, block_options(backend), lambda: compile_blocks(transformer, cache_dir, backend), cache_dir
    )


def network_beside(network: nn.Module, cache_dir: Path | None, backend: str = INDUCTOR) -> CompileBeside:
    """Like :func:`~.acceleration.compile_network`, but beside the run."""
    network.to(memory_format=torch.channels_last)
    return CompileBeside(
        [network], network_options(backend), lambda: compile_network(network, cache_dir, backend), cache_dir
    )


class CompileBeside:
    """A network that is compiled at its first call if the cache has its code, otherwise between later samples.

    Call it from one thread at a time.

    Args:
        units: the modules to compile, one of each kind, with their weights in place.
        options: of ``Module.compile``.
        compile_in_place: makes the network compile at its next calls, with these options.
        cache_dir: the model cache; None leaves PyTorch's own cache folder.
    """

    def __init__(
        self,
        units: Sequence[nn.Module],
        options: dict[str, Any],
        compile_in_place: Callable[[], object],
        cache_dir: Path | None,
    ) -> None:
        self._units, self._options, self._compile_in_place = tuple(units), options, compile_in_place
        prepare_compiler(cache_dir)
        self._description = _description(units, options)
        self._forget_recordings: Callable[[], None] = lambda: None
        self._begun, self.compiled = False, False
        self._marker: Path | None = None
        self._child: _Child | None = None
        self._calls: dict[str, CallFacts] = {}
        self._hooks: list[Any] = []
        self._thread = threading.local()

    def wrap(
        self, network: Callable[..., Any], forget_recordings: Callable[[], None] = lambda: None
    ) -> Callable[..., Any]:
        """The network, watched: its first call decides how the run begins.

        Args:
            network: calls the units.
            forget_recordings: frees recordings of eager calls.
        """
        self._forget_recordings = forget_recordings

        def call(*args: Any, **kwargs: Any) -> Any:
            if not self._begun:
                self._begin(CallFacts.of(0, args, kwargs))
            if not self.compiled:
                self._thread.eager = True
            return network(*args, **kwargs)

        return call

    def begin_sample(self) -> None:
        """Changes over if the code is compiled. Call it before every sample."""
        if getattr(self._thread, "reported", False):
            self._thread.eager = self._thread.reported = False
        if self._child is not None and (self._child.finished() or self._child.failed()):
            self._change_over(self._child)

    def noted(self, record: BackendRecord) -> BackendRecord:
        """The record, with a note if this thread's samples since its last record ran eagerly, even in part."""
        self._thread.reported = True
        if not getattr(self._thread, "eager", False):
            return record
        return replace(record, notes=f"{record.notes} {NOTE}".strip())

    def release(self) -> None:
        """Ends the child process."""
        if self._child is not None:
            if self._child.finished():
                self._mark()
            self._child.end()
        self._child = None
        self._unhook()

    def _begin(self, call: CallFacts) -> None:
        self._begun = True
        self._marker = self._marker_of(call)
        if self._marker.exists():
            self.compiled = True
            self._compile_in_place()
            return
        try:
            # Before hooks are in them.
            modules = tuple(without_weights(unit) for unit in self._units)
            self._child = _Child(modules, self._options, next(self._units[0].parameters()).device)
        except Exception as problem:
            _log_failure(f"{type(problem).__name__}: {problem}")
            self.compiled = True
            self._compile_in_place()
            return
        for number, unit in enumerate(self._units):
            self._hooks.append(unit.register_forward_pre_hook(self._watch(number), with_kwargs=True))

    def _watch(self, number: int) -> Callable[..., None]:
        """A hook that lets the child compile a unit for every new combination of shapes."""

        def called(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            call = CallFacts.of(number, args, kwargs)
            key = repr(call)
            if self._child is not None and key not in self._calls and len(self._calls) < _MOST_CALLS:
                self._calls[key] = call
                self._child.request(call)

        return called

    def _change_over(self, child: _Child) -> None:
        if child.failed():
            _log_failure(child.last_output())
        self._unhook()
        child.end()
        self._child = None
        self._forget_recordings()
        free_memory()
        self.compiled = True
        self._compile_in_place()
        # The compiler generalises from the shapes it saw before: only in the child's order will it find the child's
        # code.
        for call in self._calls.values():
            compile_call(call, self._units)
        self._mark()

    def _unhook(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def _marker_of(self, call: CallFacts) -> Path:
        """The file that says that the cache has the code of a process that begins with this call."""
        from torch._inductor.runtime.cache_dir_utils import cache_dir

        digest = hashlib.sha256(f"{toolchain()} {self._description} {call}".encode()).hexdigest()
        return Path(cache_dir()) / "begins" / f"{digest[:32]}.json"

    def _mark(self) -> None:
        if self._marker is None:
            return
        # A missing marker only costs an eager beginning.
        with suppress(OSError):
            self._marker.parent.mkdir(exist_ok=True)
            self._marker.write_text(json.dumps({"calls": list(self._calls)}, indent=1) + "\n", encoding="utf-8")


class _Child:
    """The child process.

    Args:
        modules, options: see :class:`Job`.
        device: of the weights.
    """

    def __init__(self, modules: tuple[bytes, ...], options: dict[str, Any], device: torch.device) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="compile-beside-")
        self._requests = self._answers = 0
        self._problem = ""
        self._errors = Path(self._scratch.name) / "errors"
        stored = Path(self._scratch.name) / "job"
        share = _memory_share(device)
        job = Job(modules, str(device), options, share, torch.get_num_threads(), torch.get_float32_matmul_precision())
        stored.write_bytes(pickle.dumps(job))
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=_environment(), bufsize=0
            )
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)
        self._send(stored)

    def request(self, call: CallFacts) -> None:
        """Lets it compile a unit for a call, after all earlier ones."""
        self._requests += 1
        self._send(call)

    def finished(self) -> bool:
        """Whether every request is answered."""
        assert self._process.stdout is not None
        self._answers += len(self._process.stdout.read() or b"")
        return 0 < self._requests == self._answers

    def failed(self) -> bool:
        """Whether it ended, or cannot be reported what to compile."""
        return bool(self._problem) or self._process.poll() is not None

    def last_output(self) -> str:
        """Why it failed."""
        lines = self._errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return self._problem or "\n".join(lines[-_LINES_OF_A_FAILURE:]) or f"exit code {self._process.poll()}"

    def end(self) -> None:
        """Ends it; its own processes end with it."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        self._scratch.cleanup()

    def _send(self, request: Path | CallFacts) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(as_line(request))
        except Exception as problem:
            # A pipe that its end closed, or an argument that cannot be sent.
            self._problem = self._problem or f"{type(problem).__name__}: {problem}"


def _log_failure(why: str) -> None:
    print(f"compiling in this process, because the child process failed: {why}", flush=True)


def _memory_share(device: torch.device) -> float | None:
    if device.type != "cuda":
        return None
    free, total = torch.cuda.mem_get_info(device)
    return _SHARE_OF_FREE_MEMORY * free / total


def _environment() -> dict[str, str]:
    """This process's, with the folders from which it imports."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def _description(units: Sequence[nn.Module], options: dict[str, Any]) -> str:
    """All that compiled code depends on apart from inputs and the toolchain."""
    parts = [repr(sorted(options.items()))]
    for package in ("scenewright", "diffusers"):
        with suppress(PackageNotFoundError):
            parts.append(f"{package} {version(package)}")
    for unit in units:
        parts += [type(unit).__qualname__, repr(unit)]
        parts += [f"{name} {tuple(value.shape)} {value.dtype}" for name, value in unit.state_dict().items()]
    return "\n".join(parts)
