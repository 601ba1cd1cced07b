"""What is known about a backend and its weights before anything is loaded (standard library only)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from scenewright_stages.models.errors import UnknownVariant

Capability = Literal["outpaint", "inpaint", "depth", "segment", "albedo", "normals", "caption"]
Family = Literal["classic", "model"]
Device = Literal["cpu", "cuda"]


@dataclass(frozen=True)
class Weights:
    """One published set of weights.

    Attributes:
        variant: the name under which a spec chooses it among its backend's weights.
        id: Hugging Face repository, ``organisation/name``.
        revision: branch, tag or commit; what was really used is resolved to a commit and recorded.
        licence: short tag that ``models.acceptLicenses`` lists; the Hub's own tag where there is one.
        licence_url: where its text can be read.
        non_commercial: the licence forbids commercial use of the model, or restricts it to research.
        gated: the Hub asks for an account that has accepted the licence.
        repository_type: weights of a demonstration may lie in its Space.
        approximate_bytes: size of the files that are needed, to two digits.
        required_files: glob patterns inside the repository, each of which must match a file.
        optional_files: patterns of files that add an ability; fetched only on demand.
    """

    variant: str
    id: str
    licence: str
    licence_url: str
    approximate_bytes: int
    required_files: tuple[str, ...]
    optional_files: tuple[str, ...] = ()
    revision: str = "main"
    non_commercial: bool = False
    gated: bool = False
    repository_type: Literal["model", "space"] = "model"


@dataclass(frozen=True)
class BackendSpec:
    """One way to provide a capability.

    Attributes:
        name: what a spec's ``backend`` field says.
        capability: what it provides.
        family: ``classic`` needs no weights and runs on a CPU; ``model`` runs published weights.
        implementation: import string ``module:Class`` of a class that takes a ``ModelContext``.
        weights: the variants, the default first; empty when it needs none.
        device: where it is meant to run; a model also runs on a CPU, slowly.
        gpu_memory_gib: what a Pod should ask for; 0 on the CPU.
        extra: extra of the distribution that installs its packages; empty if none is needed.
        options: names of the backend options that a spec may set, each with its allowed values
            (no values: free).
        notes: what is a prior, extrapolated or invented; goes into every sample's record.
    """

    name: str
    capability: Capability
    family: Family
    implementation: str
    notes: str
    weights: tuple[Weights, ...] = ()
    device: Device = "cpu"
    gpu_memory_gib: float = 0.0
    extra: str = ""
    options: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def variants(self) -> tuple[str, ...]:
        """Names of the variants, the default first."""
        return tuple(weights.variant for weights in self.weights)

    def weights_of(self, variant: str | None = None) -> Weights | None:
        """The weights of a variant, the default ones for None; None if the backend has no weights.

        Raises:
            UnknownVariant: no weights under that name, or a variant for a backend without weights.
        """
        if variant is None:
            return self.weights[0] if self.weights else None
        for weights in self.weights:
            if weights.variant == variant:
                return weights
        raise UnknownVariant(f"{self.capability}.variant", variant, self.variants)
