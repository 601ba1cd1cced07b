"""A chain of fallback backends for one capability: the first that can serve does, and the record names it.

Stages use a chain wherever a spec may list alternatives. The next backend is tried if one lacks its weights or
packages, if its licence is not accepted, or if its result is unusable. The error of the last one goes to the stage.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

from scenewright_stages.backends.runtime.capability import Capability, InterfaceT
from scenewright_stages.backends.runtime.errors import (
    BackendContractError,
    LicenceNotAccepted,
    MissingPackage,
    MissingWeights,
    UnsupportedSubject,
)
from scenewright_stages.backends.runtime.loading import ModelContext, load, release
from scenewright_stages.backends.runtime.registry import backend
from scenewright_stages.contract.stage import BackendUse, ModelSettings

ResultT = TypeVar("ResultT")
_UNAVAILABLE = (MissingWeights, MissingPackage, LicenceNotAccepted)
_UNUSABLE = (BackendContractError, UnsupportedSubject)


class BackendChain(Generic[InterfaceT]):
    """Backends of one capability in the spec's order. Thread-safe.

    Args:
        capability: to serve.
        names: of the backends; a single one has no fallback.
        models: the job's model settings.
        options: for the whole chain; each backend gets those that it knows. None means its default.
        variant, revision: the weights, and their branch, tag, commit or location; only for a chain of one.

    Raises:
        ConfigurationError: no backend is available, or one rejects an option's value.
    """

    def __init__(
        self,
        capability: Capability[InterfaceT],
        names: Sequence[str],
        models: ModelSettings,
        options: Mapping[str, Any] | None = None,
        variant: str = "",
        revision: str = "",
    ) -> None:
        self._capability, self._names = capability, tuple(names)
        self._models, self._options = models, options or {}
        self._variant = variant if len(self._names) == 1 else ""
        self._revision = revision if len(self._names) == 1 else ""
        self._loaded: dict[str, InterfaceT] = {}
        self._passed_over: set[str] = set()
        self._lock = threading.Lock()
        self._first_available(0)

    def call(self, use: Callable[[InterfaceT], ResultT]) -> tuple[ResultT, BackendUse]:
        """The result of the first backend that succeeds, and its record entry.

        Raises:
            BackendContractError, UnsupportedSubject: the last backend's result is unusable too.
        """
        position = 0
        while True:
            position, serving = self._first_available(position)
            try:
                return use(serving), self._record(position, serving)
            except _UNUSABLE as problem:
                if position + 1 == len(self._names):
                    raise
                self._pass_over(self._names[position], f"gave nothing usable: {problem}")
                position += 1

    def release(self) -> None:
        """Frees the memory of loaded backends; the chain must not be used afterwards."""
        with self._lock:
            for loaded in self._loaded.values():
                release(loaded)
            self._loaded.clear()

    def _first_available(self, start: int) -> tuple[int, InterfaceT]:
        with self._lock:
            for position, name in enumerate(self._names[start:], start):
                try:
                    if name not in self._loaded:
                        self._loaded[name] = self._load(name)
                    return position, self._loaded[name]
                except _UNAVAILABLE as problem:
                    if position + 1 == len(self._names):
                        raise
                    self._pass_over(name, str(problem))
        raise AssertionError("a chain has at least one backend")

    def _load(self, name: str) -> InterfaceT:
        known = backend(self._capability.name, name).all_options
        options = {option: value for option, value in self._options.items() if value is not None and option in known}
        context = ModelContext.from_settings(self._models, self._variant or None, options, self._revision or None)
        return load(self._capability, name, context)

    def _pass_over(self, name: str, why: str) -> None:
        if name not in self._passed_over:
            self._passed_over.add(name)
            print(f"{self._capability.name}: {name} does not serve, the next one of the chain does: {why}", flush=True)

    def _record(self, position: int, serving: InterfaceT) -> BackendUse:
        use = serving.record.use(self._capability.name)
        if position == 0:
            return use
        passed = ", ".join(self._names[:position])
        return replace(use, notes=f"{use.notes} Serves in place of {passed}.".strip())
