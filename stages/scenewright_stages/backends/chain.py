"""A chain of backends for one capability: the first that can serves, and the record says which one did.

Stages of every pipeline ask through a chain where a spec may list alternatives. The next backend serves where one lacks
its weights or packages, where its licence was not accepted, and where its answer to a call is unusable. Without a next
one nothing falls back: the error goes to the stage.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

from scenewright_stages.backends.capability import Capability, InterfaceT
from scenewright_stages.backends.errors import (
    BackendContractError,
    LicenceNotAccepted,
    MissingPackage,
    MissingWeights,
    UnsupportedSubject,
)
from scenewright_stages.backends.loading import ModelContext, load, release
from scenewright_stages.backends.registry import backend
from scenewright_stages.contract.stage import BackendUse, ModelSettings

ResultT = TypeVar("ResultT")
_UNAVAILABLE = (MissingWeights, MissingPackage, LicenceNotAccepted)
_UNUSABLE = (BackendContractError, UnsupportedSubject)


class BackendChain(Generic[InterfaceT]):
    """Backends of one capability in the order in which the spec lists them. Calls may come from several threads.

    Args:
        capability: what is asked for.
        names: backends; with a single one there is no fallback.
        models: the job's model settings.
        options: for the whole chain; each backend gets those that it knows. None stands for its default.
        variant, revision: which weights, and which branch, tag or commit of them, or where they lie; only a chain of
            one may name them.

    Raises:
        ConfigurationError: the last backend is not available either, or one refuses an option's value.
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
        """The result of the first backend that gives one, and who that was.

        Raises:
            BackendContractError, UnsupportedSubject: the last one's answer is unusable too.
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
        """Free the memory of the backends that are loaded; the chain must not be used afterwards."""
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
