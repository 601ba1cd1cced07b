"""Common types of all backends: the typed capability, the base protocol, and the record.

Every ``interface.py`` binds its name to its protocol once, ``DEPTH = Capability("depth", DepthEstimator)``; loading by
that value returns the typed interface. Images are float32 sRGB in [0, 1], shape (H, W, 3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, runtime_checkable

from scenewright_stages.contract.stage import BackendUse

InterfaceT = TypeVar("InterfaceT", bound="Backend")


@dataclass(frozen=True)
class Capability(Generic[InterfaceT]):
    """A capability and its interface.

    Attributes:
        name: as in keys, records and ``BackendFacts.capability``.
        interface: a runtime-checkable protocol.
    """

    name: str
    interface: type[InterfaceT]


@dataclass(frozen=True)
class BackendRecord:
    """Identity of the backend that made an output; stored in every sample's record.

    Attributes:
        capability, backend, family, variant: the backend as selected by the spec.
        weights_id: Hugging Face repository of the weights, empty without weights. Several sets are joined by ``+``, and
            so are their revisions and licences.
        revision: the resolved commit; ``local-<hash>`` for a plain folder; empty without weights.
        licence, licence_url, non_commercial: the weights' licence, for filtering data sets later.
        device, precision: where and how it ran.
        notes: what is a prior, extrapolated or invented.
    """

    capability: str
    backend: str
    family: str
    variant: str = ""
    weights_id: str = ""
    revision: str = ""
    licence: str = ""
    licence_url: str = ""
    non_commercial: bool = False
    device: str = "cpu"
    precision: str = "fp32"
    notes: str = ""

    def use(self, capability: str | None = None) -> BackendUse:
        """The entry for a sample's record.

        Args:
            capability: the served capability, if one instance serves several (outpaint and inpaint).
        """
        model = f"{self.weights_id} ({self.precision} on {self.device})" if self.weights_id else ""
        return BackendUse(capability or self.capability, self.backend, model, self.revision, self.licence, self.notes)


@runtime_checkable
class Backend(Protocol):
    """Base protocol of all backends."""

    @property
    def record(self) -> BackendRecord:
        """Its entry in sample records."""

    def release(self) -> None:
        """Frees its memory; it must not be used afterwards."""
