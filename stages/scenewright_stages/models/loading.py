"""From a backend's name to a loaded instance: licence first, then weights, then packages, then memory.

A :class:`ModelPool` loads each model once; ``outpaint`` and ``inpaint`` by ``flux-fill`` share one
instance. Nothing here reaches the network: what the cache lacks is a :class:`MissingWeights` error.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from scenewright_stages.contract.stage import ModelSettings
from scenewright_stages.models.errors import MissingPackage, UnsupportedOption
from scenewright_stages.models.interfaces import Backend, BackendRecord
from scenewright_stages.models.registry import backend, check_licence
from scenewright_stages.models.specs import BackendSpec, Weights
from scenewright_stages.models.weights import default_cache_dir, require_weights

# Packages that only an option needs; a backend's own extra installs the rest.
_EXTRA_OF_PACKAGE = {"torchao": "quantised"}


@dataclass(frozen=True)
class ModelContext:
    """How a stage wants its models.

    Attributes:
        cache_dir: the model cache.
        device: ``cpu``, ``cuda`` or ``auto`` (CUDA if there is a device, else CPU).
        accepted_licences: tags from ``models.acceptLicenses``.
        variant: which of the backend's weights; None = its default.
        revision: branch, tag or commit in place of the catalogue's.
        options: the backend's own options (``precision``, ``compile``, ...), see ``BackendSpec.options``.
    """

    cache_dir: Path = field(default_factory=default_cache_dir)
    device: str = "auto"
    accepted_licences: frozenset[str] = frozenset()
    variant: str | None = None
    revision: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_settings(
        cls, settings: ModelSettings, variant: str | None = None, options: Mapping[str, Any] | None = None
    ) -> ModelContext:
        """The job's model settings with a stage's choice of variant and options."""
        return cls(
            cache_dir=settings.cache or default_cache_dir(),
            device=settings.device,
            accepted_licences=settings.accepted_licences,
            variant=variant,
            options=options or {},
        )

    def option(self, name: str, default: Any) -> Any:
        """The option's value, ``default`` if it is not set."""
        return self.options.get(name, default)


@dataclass(frozen=True)
class LoadRequest:
    """What an implementation is constructed with: all checks have passed.

    Attributes:
        spec: the backend.
        context: the stage's wishes, with ``device`` resolved.
        weights: the weights to load, None for a backend without any.
        folder: where they lie.
        record: the record to hand out; an implementation may refine it (precision, notes).
        optional_files_present: the weights' optional files (text encoders) are there too.
    """

    spec: BackendSpec
    context: ModelContext
    weights: Weights | None
    folder: Path | None
    record: BackendRecord
    optional_files_present: bool = False


class ModelPool:
    """The loaded models of one process; each is loaded once."""

    def __init__(self) -> None:
        self._loaded: dict[str, Backend] = {}

    def load(self, capability: str, name: str, context: ModelContext | None = None) -> Any:
        """The backend ``name`` for ``capability``, loaded now or before.

        Returns:
            an ``Inpainter`` for ``outpaint`` and ``inpaint``, a ``DepthEstimator`` for ``depth``.

        Raises:
            UnknownCapability, UnknownBackend, UnknownVariant, UnsupportedOption, LicenceNotAccepted,
            MissingWeights, MissingPackage: see :mod:`scenewright_stages.models.errors`.
        """
        request = prepare(capability, name, context or ModelContext())
        key = _identity(request)
        if key not in self._loaded:
            self._loaded[key] = _construct(request)
        return self._loaded[key]

    def release(self) -> None:
        """Release every loaded model; later loads start afresh."""
        while self._loaded:
            self._loaded.popitem()[1].release()


_POOL = ModelPool()


def load(capability: str, name: str, context: ModelContext | None = None) -> Any:
    """:meth:`ModelPool.load` of the process-wide pool."""
    return _POOL.load(capability, name, context)


def release() -> None:
    """:meth:`ModelPool.release` of the process-wide pool."""
    _POOL.release()


def prepare(capability: str, name: str, context: ModelContext) -> LoadRequest:
    """All checks that need no model: names, options, licence, files. Raises as :meth:`ModelPool.load`."""
    spec = backend(capability, name)
    check_options(spec, context.options)
    weights = check_licence(spec, context.variant, context.accepted_licences)
    device = _resolve_device(spec, context.device)
    context = replace(context, device=device)
    if weights is None:
        return LoadRequest(spec, context, None, None, _record(spec, None, "", device))
    status = require_weights(weights, context.cache_dir, context.revision)
    record = _record(spec, weights, status.revision, device)
    return LoadRequest(spec, context, weights, status.path, record, status.optional_present)


def check_options(spec: BackendSpec, options: Mapping[str, Any]) -> None:
    """Refuse options that the backend does not have, and values that it does not know.

    Raises:
        UnsupportedOption: with what is allowed.
    """
    known = dict(spec.options)
    for option, value in options.items():
        if option not in known:
            raise UnsupportedOption(f"{spec.capability}.{spec.name}", option, sorted(known))
        if known[option] and value not in known[option]:
            raise UnsupportedOption(f"{spec.capability}.{option}", value, known[option])


def _resolve_device(spec: BackendSpec, device: str) -> str:
    if spec.device == "cpu":
        return "cpu"
    if device != "auto":
        return device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _record(spec: BackendSpec, weights: Weights | None, revision: str, device: str) -> BackendRecord:
    record = BackendRecord(spec.capability, spec.name, spec.family, device=device, notes=spec.notes)
    if weights is None:
        return record
    return replace(
        record,
        variant=weights.variant,
        weights_id=weights.id,
        revision=revision,
        licence=weights.licence,
        licence_url=weights.licence_url,
        non_commercial=weights.non_commercial,
    )


def _identity(request: LoadRequest) -> str:
    """Two requests with the same identity can share one instance."""
    weights_id = request.weights.id if request.weights else ""
    options = json.dumps(dict(request.context.options), sort_keys=True, default=str)
    parts = (request.spec.implementation, weights_id, request.record.revision, request.context.device, options)
    return "|".join(parts)


def _construct(request: LoadRequest) -> Backend:
    # Belt and braces: nothing below a stage may go to the network for a file that the cache lacks.
    os.environ["HF_HUB_OFFLINE"] = "1"
    module_name, _, class_name = request.spec.implementation.partition(":")
    try:
        implementation: Callable[[LoadRequest], Backend]
        implementation = getattr(importlib.import_module(module_name), class_name)
        return implementation(request)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package == "scenewright_stages":
            raise
        field_name = f"{request.spec.capability}.backend"
        extra = _EXTRA_OF_PACKAGE.get(package, request.spec.extra or "stages")
        raise MissingPackage(field_name, request.spec.name, package, extra) from error
