"""Static facts about backends: weights, licences, memory and options.

Built-in backends declare their facts in ``backends/<capability>/facts.py``; a pipeline may add its own in
``Pipeline.backends``. The planner, the model cache, the loader and Pod sizing all read them, so this module imports
only the standard library and the contract.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol

from scenewright_stages.contract.errors import ConfigurationError

Family = Literal["classic", "model"]
Device = Literal["cpu", "cuda"]
Evidence = Literal["measured", "predicted", "prior"]
"""Basis of a result: a sensor or a given file, a trained model, or a stated assumption."""
Scale = Literal["metric", "relative", "unknown"]
"""Unit of a depth: metres; an assumed range, both near and far; or true proportions up to one unknown factor."""


class UnknownChoice(ConfigurationError):  # noqa: N818 - named after what it states, as its subclasses are
    """A field names something that does not exist; ``allowed`` lists what does."""

    def __init__(self, field: str, value: object, allowed: Sequence[str]) -> None:
        self.allowed = tuple(allowed)
        super().__init__(field, value, f"allowed: {', '.join(self.allowed) or 'none'}")


class UnknownVariant(UnknownChoice):
    """The backend has no weights of that variant."""


@dataclass(frozen=True)
class Weights:
    """One published set of weights.

    Attributes:
        id: Hugging Face repository, ``organisation/name``.
        licence: short tag that ``models.acceptLicenses`` lists; the Hub's own tag if it has one.
        licence_url: where to read its text.
        approximate_bytes: size of the required files, to two digits.
        required_files: glob patterns inside the repository; each must match a file.
        optional_files: patterns of files that add a capability; fetched only on demand.
        revision: branch, tag or commit; or the location of other weights for the same model, as an absolute path,
            ``file:///…`` or ``s3://…``. The revision actually used is recorded.
        non_commercial: the licence forbids commercial use of the model, or restricts it to research.
        gated: the Hub asks for an account that has accepted the licence.
        repository_type: ``space`` if the weights lie in a demo's Space.
    """

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

    @property
    def location(self) -> str:
        """URI of the folder or prefix that the revision names; empty for a branch, tag or commit."""
        if self.revision.startswith("/"):
            return Path(self.revision).as_uri()
        return self.revision if self.revision.startswith(("file:///", "s3://")) else ""


def at_revision(sets: Sequence[Weights], revision: str | None) -> tuple[Weights, ...]:
    """The sets of a variant, with the first one (the model itself) at another revision or location."""
    if not revision or not sets:
        return tuple(sets)
    return (replace(sets[0], revision=revision), *sets[1:])


@dataclass(frozen=True)
class Formula:
    """Licence of a published method that a backend implements without weights.

    Attributes:
        id: its name, such as the paper's.
        licence, licence_url, non_commercial, gated: as in :class:`Weights`.
    """

    id: str
    licence: str
    licence_url: str
    non_commercial: bool = False
    gated: bool = False


@dataclass(frozen=True)
class DepthTraits:
    """What the depth of a backend, or of one of its variants, is good for.

    Attributes:
        scale: unit of the depth. A relative backend takes the options ``near_metres`` and ``far_near_ratio``.
        marks_sky: whether sky comes without depth, infinite or kilometres away, so that it is not taken for a wall.
        predicts_new_views: whether it also estimates pictures that were rendered or drawn, not only the photograph.
        assumes_field_of_view: whether it assumes a field of view where none is given, and shapes its depth by it.
    """

    scale: Scale
    marks_sky: bool = False
    predicts_new_views: bool = True
    assumes_field_of_view: bool = False


@dataclass(frozen=True)
class BackendFacts:
    """One way to provide a capability.

    Attributes:
        name: what a spec's ``backend`` field says.
        capability: what it provides, such as ``depth``.
        family: ``classic`` needs no weights and runs on a CPU; ``model`` runs published weights.
        implementation: import string ``module:callable``; the callable takes a ``LoadRequest``.
        notes: what is a prior, extrapolated or invented; copied into every sample's record.
        evidence: basis of its results, as shown in reports.
        reads: role of the file beside the image that it reads instead of estimating; empty for none.
        depth: traits of a depth backend; None for other capabilities.
        depth_by: traits of the variants that differ from it.
        rank: order by quality among the backends of its capability; ``models.policy`` takes the highest one that it
            permits. 0: never taken while the spec's own choice is permitted.
        best_variant: the variant that the policy takes if it may; empty for the default one.
        formula: licence of the method itself, if that is not the project's own.
        weights: sets of weights by variant, the default variant first. A variant needs all of its sets. Empty for a
            backend without weights.
        bundled: small weights that ship with the installation and are never fetched.
        device: where it is meant to run; a model also runs on a CPU, slowly.
        gpu_memory_gib: GPU memory that a Pod requests for the default variant and precision; 0 on the CPU.
        gpu_memory_by: overrides of that, by ``variant precision``, by variant or by precision.
        measured: seconds of one call on a GPU and what it was, as docs/benchmarks.md has it; empty if not measured.
        precisions: allowed values of the option ``precision``; empty without such an option.
        offload_modes: allowed values of the option ``offload``; empty without such an option.
        image: name of the stage image that has its packages; empty if every image has them.
        extra: extra of the distribution that installs its packages; empty if none is needed.
        options: further options that a spec may set, each with its allowed values (empty: any value).
    """

    name: str
    capability: str
    family: Family
    implementation: str
    notes: str
    evidence: Evidence = "predicted"
    reads: str = ""
    depth: DepthTraits | None = None
    depth_by: Mapping[str, DepthTraits] = field(default_factory=dict)
    rank: int = 0
    best_variant: str = ""
    formula: Formula | None = None
    weights: Mapping[str, tuple[Weights, ...]] = field(default_factory=dict)
    bundled: tuple[Weights, ...] = ()
    device: Device = "cpu"
    gpu_memory_gib: float = 0.0
    gpu_memory_by: Mapping[str, float] = field(default_factory=dict)
    measured: str = ""
    precisions: tuple[str, ...] = ()
    offload_modes: tuple[str, ...] = ()
    image: str = ""
    extra: str = ""
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def all_options(self) -> dict[str, tuple[str, ...]]:
        """Every option that a spec may set, with its allowed values (empty: any value)."""
        common = {"precision": self.precisions, "offload": self.offload_modes}
        return {**{name: values for name, values in common.items() if values}, **self.options}

    def weights_of(self, variant: str | None = None) -> tuple[Weights, ...]:
        """The sets of weights of a variant (None: the default); empty if the backend has no weights.

        Raises:
            UnknownVariant: the backend has no variant of that name.
        """
        if variant is None:
            return next(iter(self.weights.values()), ())
        if variant not in self.weights:
            raise UnknownVariant(f"{self.capability}.variant", variant, tuple(self.weights))
        return self.weights[variant]

    def depth_traits(self, variant: str = "") -> DepthTraits | None:
        """Traits of a variant's depth (empty: the default variant's); None for unknown variants."""
        if self.weights and variant not in ("", *self.weights):
            return None
        return self.depth_by.get(variant or next(iter(self.weights), ""), self.depth)

    def licensed(self, variant: str | None = None) -> tuple[Licensed, ...]:
        """Everything whose licence applies: the formula, and the weights of a variant."""
        return (*([self.formula] if self.formula else []), *self.weights_of(variant if self.weights else None))

    def gpu_memory(self, variant: str = "", precision: str = "") -> float:
        """GPU memory in GiB that a Pod requests; empty names mean the backend's defaults."""
        variant = variant or next(iter(self.weights), "")
        for name in (f"{variant} {precision}", variant, precision):
            if name in self.gpu_memory_by:
                return self.gpu_memory_by[name]
        return self.gpu_memory_gib


class Licensed(Protocol):
    """Weights or a formula: anything that is under a licence."""

    @property
    def id(self) -> str: ...
    @property
    def licence(self) -> str: ...
    @property
    def licence_url(self) -> str: ...
    @property
    def non_commercial(self) -> bool: ...
    @property
    def gated(self) -> bool: ...


@dataclass(frozen=True)
class LicenceNeed:
    """Whether a licence must be accepted by name, and why."""

    licence: str
    url: str
    needed: bool
    reason: Literal["permissive", "non-commercial", "gated", "non-commercial and gated"]


def licence_need(weights: Licensed) -> LicenceNeed:
    """Non-commercial and gated weights and formulas must be accepted; permissive ones never need it."""
    reason: Literal["permissive", "non-commercial", "gated", "non-commercial and gated"]
    if weights.non_commercial:
        reason = "non-commercial and gated" if weights.gated else "non-commercial"
    else:
        reason = "gated" if weights.gated else "permissive"
    return LicenceNeed(weights.licence, weights.licence_url, reason != "permissive", reason)
