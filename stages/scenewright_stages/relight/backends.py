"""The backends of a stage: one, or a chain of which the first that can serves. What served is always recorded."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from scenewright_stages.contract.stage import BackendUse, StageContext
from scenewright_stages.models.errors import BackendContractError, MissingPackage, MissingWeights
from scenewright_stages.models.loading import ModelContext, load
from scenewright_stages.models.registry import backend
from scenewright_stages.photographs.params import ModelParams

Result = TypeVar("Result")
_UNAVAILABLE = (MissingWeights, MissingPackage)


class BackendChain:
    """Backends of one capability in the order in which the spec lists them. Calls may come from several threads.

    Args:
        capability: such as ``segment``.
        names: backends; with a single one there is no fallback.
        context: of the stage.
        options: of each backend by name.
        variant: of the weights; only a chain of one may name it.

    Raises:
        ConfigurationError: the last backend is not available either, or one does not know an option.
    """

    def __init__(
        self,
        capability: str,
        names: Sequence[str],
        context: StageContext,
        options: Mapping[str, Mapping[str, Any]],
        variant: str = "",
    ) -> None:
        self._capability, self._names = capability, tuple(names)
        self._context, self._options, self._variant = context, options, variant
        self._loaded: dict[str, Any] = {}
        self._missing: dict[str, str] = {}
        self._lock = threading.Lock()
        self._first_available(0)

    def call(self, use: Callable[[Any], Result]) -> tuple[Result, BackendUse]:
        """The result of the first backend that gives one, and who that was.

        Raises:
            BackendContractError: the last one's answer is unusable too.
        """
        position = 0
        while True:
            position, serving = self._first_available(position)
            try:
                return use(serving), self._record(position, serving)
            except BackendContractError as problem:
                if position + 1 == len(self._names):
                    raise
                self._note(self._names[position], f"gave nothing usable: {problem}")
                position += 1

    def _first_available(self, start: int) -> tuple[int, Any]:
        with self._lock:
            for position, name in enumerate(self._names[start:], start):
                try:
                    if name not in self._loaded:
                        self._loaded[name] = self._load(name)
                    return position, self._loaded[name]
                except _UNAVAILABLE as problem:
                    if position + 1 == len(self._names):
                        raise
                    self._note(name, str(problem))
        raise AssertionError("a chain has at least one backend")

    def _load(self, name: str) -> Any:
        options = self._options.get(name, {})
        variant = self._variant if len(self._names) == 1 else ""
        return load(
            self._capability, name, ModelContext.from_settings(self._context.models, variant or None, dict(options))
        )

    def _note(self, name: str, why: str) -> None:
        if name not in self._missing:
            print(f"{self._capability}: {name} does not serve, the next one of the chain does: {why}", flush=True)
            self._missing[name] = why

    def _record(self, position: int, serving: Any) -> BackendUse:
        use: BackendUse = serving.record.use(self._capability)
        if position == 0:
            return use
        passed = ", ".join(self._names[:position])
        return replace(use, notes=f"{use.notes} Serves in place of {passed}.".strip())


def model_options(capability: str, names: Sequence[str], block: ModelParams, **own: Any) -> dict[str, dict[str, Any]]:
    """Of each backend by name the options that it knows and that are set (neither empty nor 0)."""
    wanted = {"precision": block.precision, "batch": block.batch, **own}
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        known = dict(backend(capability, name).options)
        found[name] = {option: value for option, value in wanted.items() if value and option in known}
    return found


def use_as_json(use: BackendUse) -> dict[str, str]:
    """Who served, for the metadata."""
    return {name: value for name, value in vars(use).items() if value}
