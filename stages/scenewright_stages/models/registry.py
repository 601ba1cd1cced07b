"""The backends by capability: what they are called, which weights they need, under which licence.

Light on purpose (standard library only): the planner validates specs with it and ``scenewright models``
prints it, neither of which may load torch. The implementations are import strings, resolved by
:mod:`scenewright_stages.models.loading` inside a stage.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from scenewright_stages.models.catalogue import BACKENDS
from scenewright_stages.models.errors import LicenceNotAccepted, UnknownBackend, UnknownCapability
from scenewright_stages.models.specs import BackendSpec, Weights

__all__ = [
    "BackendSpec",
    "LicenceNeed",
    "Weights",
    "backend",
    "backends",
    "capabilities",
    "check_licence",
    "licence_need",
]


def capabilities() -> tuple[str, ...]:
    """Names of the capabilities that have at least one backend, in a fixed order."""
    return tuple(dict.fromkeys(spec.capability for spec in BACKENDS))


def backends(capability: str | None = None) -> tuple[BackendSpec, ...]:
    """The backends of one capability (all of them for None), classic first.

    Raises:
        UnknownCapability: nothing offers ``capability``.
    """
    if capability is None:
        return BACKENDS
    found = tuple(spec for spec in BACKENDS if spec.capability == capability)
    if not found:
        raise UnknownCapability("capability", capability, capabilities())
    return found


def backend(capability: str, name: str, field: str | None = None) -> BackendSpec:
    """The backend that serves ``capability`` under ``name``.

    Args:
        capability: one of :func:`capabilities`.
        name: the backend's name as the spec gives it.
        field: path of the spec field that named it, for the error; default ``<capability>.backend``.

    Raises:
        UnknownCapability: nothing offers ``capability``.
        UnknownBackend: no backend of that name offers it; the error lists the allowed names.
    """
    offered = backends(capability)
    for spec in offered:
        if spec.name == name:
            return spec
    raise UnknownBackend(field or f"{capability}.backend", name, [spec.name for spec in offered])


@dataclass(frozen=True)
class LicenceNeed:
    """Whether a licence has to be accepted by name, and why."""

    licence: str
    url: str
    needed: bool
    reason: Literal["permissive", "non-commercial", "gated", "non-commercial and gated"]


def licence_need(weights: Weights) -> LicenceNeed:
    """Non-commercial and gated weights need an acceptance; permissive ones never do."""
    reasons = [
        reason for reason, holds in (("non-commercial", weights.non_commercial), ("gated", weights.gated)) if holds
    ]
    reason = " and ".join(reasons) or "permissive"
    return LicenceNeed(weights.licence, weights.licence_url, bool(reasons), reason)  # type: ignore[arg-type]


def check_licence(spec: BackendSpec, variant: str | None, accepted: Iterable[str]) -> Weights | None:
    """Let the backend's weights pass only if their licence is permissive or accepted by name.

    Args:
        spec: the backend.
        variant: which of its weights; None means its default.
        accepted: the licence tags that the spec accepts (``models.acceptLicenses``).

    Returns:
        The weights that passed; None for a backend that has none.

    Raises:
        UnknownVariant: the backend has no such weights.
        LicenceNotAccepted: names the licence, its URL and the field to set.
    """
    weights = spec.weights_of(variant)
    accepted = frozenset(accepted)
    if weights is not None and licence_need(weights).needed and weights.licence not in accepted:
        raise LicenceNotAccepted(weights.licence, weights.licence_url, weights.id, sorted(accepted))
    return weights
