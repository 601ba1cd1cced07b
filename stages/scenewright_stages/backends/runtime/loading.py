"""Loads backends by name; checks the licence first, then weights, then packages.

A :class:`ModelPool` loads each model once; ``outpaint`` and ``inpaint`` by ``flux-fill`` share one instance. Stages use
the process-wide pool, through :func:`load` or a :class:`~scenewright_stages.backends.runtime.chain.BackendChain`.
Loading never uses the network: missing weights are a :class:`MissingWeights` error.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from scenewright_stages.backends.runtime.cache.weights import WeightsStatus, default_cache_dir, require_weights
from scenewright_stages.backends.runtime.capability import Backend, BackendRecord, Capability, InterfaceT
from scenewright_stages.backends.runtime.errors import MissingPackage, UnsupportedOption
from scenewright_stages.backends.runtime.registry import backend, check_licence
from scenewright_stages.contract.backends import BackendFacts, Licensed, Weights, at_revision
from scenewright_stages.contract.stage import ModelSettings

# Packages needed only by an option; a backend's own extra installs the others.
_EXTRA_OF_PACKAGE = {"bitsandbytes": "quantised"}


@dataclass(frozen=True)
class ModelContext:
    """A stage's model settings.

    Attributes:
        cache_dir: the model cache.
        device: ``cpu``, ``cuda`` or ``auto`` (CUDA if there is a device, else CPU).
        accepted_licences: tags from ``models.acceptLicenses``.
        variant: which of the backend's weights; None = its default.
        revision: branch, tag, commit or location that replaces the declared one, for the variant's first set of
            weights.
        options: the backend's own options (``precision``, ``compile``, ...), see ``BackendFacts.all_options``.
    """

    cache_dir: Path = field(default_factory=default_cache_dir)
    device: str = "auto"
    accepted_licences: frozenset[str] = frozenset()
    variant: str | None = None
    revision: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_settings(
        cls,
        settings: ModelSettings,
        variant: str | None = None,
        options: Mapping[str, Any] | None = None,
        revision: str | None = None,
    ) -> ModelContext:
        """The job's model settings, with a stage's variant, options and revision."""
        return cls(
            cache_dir=settings.cache or default_cache_dir(),
            device=settings.device,
            accepted_licences=settings.accepted_licences,
            variant=variant,
            revision=revision,
            options=options or {},
        )

    def option(self, name: str, default: Any) -> Any:
        """The option's value, or ``default`` if it is not set."""
        return self.options.get(name, default)


@dataclass(frozen=True)
class LoadRequest:
    """The arguments of an implementation, after all checks have passed.

    Attributes:
        facts: of the backend.
        context: the stage's settings, with ``device`` resolved.
        folders: of the variant's sets of weights, in the order of the facts.
        record: the backend's record; an implementation may refine it (precision, notes).
        optional_files_present: whether the optional files of all sets (text encoders) are present.
    """

    facts: BackendFacts
    context: ModelContext
    folders: tuple[Path, ...]
    record: BackendRecord
    optional_files_present: bool = False

    @property
    def folder(self) -> Path:
        """The folder of the only set of weights. Raises ValueError unless there is exactly one."""
        (folder,) = self.folders
        return folder


class WeightlessBackend:
    """Base of the backends without weights; holds only a record."""

    def __init__(self, request: LoadRequest) -> None:
        self.record: BackendRecord = request.record

    def release(self) -> None:
        """Does nothing."""


class ModelPool:
    """The models of one process, each loaded once."""

    def __init__(self) -> None:
        self._loaded: dict[str, Backend] = {}

    def load(self, capability: Capability[InterfaceT], name: str, context: ModelContext | None = None) -> InterfaceT:
        """The backend ``name`` for ``capability``, loaded on first use.

        Raises:
            UnknownCapability, UnknownBackend, UnknownVariant, UnsupportedOption, LicenceNotAccepted, MissingWeights,
            MissingPackage: see :mod:`scenewright_stages.backends.runtime.errors`.
            TypeError: the implementation lacks methods of the capability's interface.
        """
        request = prepare(capability.name, name, context or ModelContext())
        key = _identity(request)
        if key not in self._loaded:
            self._loaded[key] = _construct(request)
        loaded = self._loaded[key]
        if not isinstance(loaded, capability.interface):
            raise TypeError(f"{request.facts.implementation} is no {capability.interface.__name__}")
        return loaded

    def release_instance(self, instance: Backend) -> None:
        """Releases one model; a later load reloads it."""
        self._loaded = {key: loaded for key, loaded in self._loaded.items() if loaded is not instance}
        instance.release()

    def release(self) -> None:
        """Releases every loaded model; later loads reload them."""
        while self._loaded:
            self._loaded.popitem()[1].release()


_POOL = ModelPool()


def load(capability: Capability[InterfaceT], name: str, context: ModelContext | None = None) -> InterfaceT:
    """:meth:`ModelPool.load` of the process-wide pool."""
    return _POOL.load(capability, name, context)


def release(instance: Backend) -> None:
    """:meth:`ModelPool.release_instance` of the process-wide pool."""
    _POOL.release_instance(instance)


def prepare(capability: str, name: str, context: ModelContext) -> LoadRequest:
    """Runs all checks that need no model: names, options, licences, files. Raises like :meth:`ModelPool.load`."""
    facts = backend(capability, name)
    check_options(facts, context.options)
    sets = at_revision(check_licence(facts, context.variant, context.accepted_licences), context.revision)
    context = replace(context, device=_resolve_device(facts, context.device))
    found = [require_weights(weights, context.cache_dir) for weights in sets]
    return LoadRequest(
        facts,
        context,
        folders=tuple(status.path for status in found if status.path is not None),
        record=_record(facts, context, sets, found),
        optional_files_present=bool(found) and all(status.optional_present for status in found),
    )


def check_options(facts: BackendFacts, options: Mapping[str, Any]) -> None:
    """Refuses unknown options and invalid values.

    Raises:
        UnsupportedOption: lists the allowed ones.
    """
    known = facts.all_options
    for option, value in options.items():
        if option not in known:
            raise UnsupportedOption(f"{facts.capability}.{facts.name}", option, sorted(known))
        if known[option] and value not in known[option]:
            raise UnsupportedOption(f"{facts.capability}.{option}", value, known[option])


def _resolve_device(facts: BackendFacts, device: str) -> str:
    if facts.device == "cpu":
        return "cpu"
    if device != "auto":
        return device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _record(
    facts: BackendFacts, context: ModelContext, sets: tuple[Weights, ...], found: list[WeightsStatus]
) -> BackendRecord:
    record = BackendRecord(facts.capability, facts.name, facts.family, device=context.device, notes=facts.notes)
    licensed: tuple[Licensed, ...] = (*([facts.formula] if facts.formula else []), *sets)
    record = replace(
        record,
        licence="+".join(dict.fromkeys(each.licence for each in licensed)),
        licence_url=" ".join(dict.fromkeys(each.licence_url for each in licensed)),
        non_commercial=any(each.non_commercial for each in licensed),
    )
    if not sets:
        return record
    return replace(
        record,
        variant=context.variant or next(iter(facts.weights)),
        weights_id="+".join(weights.id for weights in sets),
        revision="+".join(status.revision for status in found),
    )


def _identity(request: LoadRequest) -> str:
    """Identity of a request; equal ones share an instance, because a backend may serve several capabilities."""
    options = json.dumps(dict(request.context.options), sort_keys=True, default=str)
    facts, record = request.facts, request.record
    parts = (facts.implementation, facts.name, record.weights_id, record.revision, record.device, options)
    return "|".join(parts)


def _construct(request: LoadRequest) -> Backend:
    # As a safeguard, forbid libraries to download files that the cache lacks.
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        implementation: Callable[[LoadRequest], Backend] = resolve_name(request.facts.implementation)
        return implementation(request)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package == "scenewright_stages":
            raise
        field_name = f"{request.facts.capability}.backend"
        extra = _EXTRA_OF_PACKAGE.get(package, request.facts.extra or "stages")
        raise MissingPackage(field_name, request.facts.name, package, extra) from error
