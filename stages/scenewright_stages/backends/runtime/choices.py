"""Derives the needs of a stage's backends: weights, licences and Pod resources.

A :class:`BackendChoice` is one capability with its possible backends in fallback order. Pipelines size their Pods from
their choices; the planner and the ``models`` step derive the weights that a choice may use. The planner runs in the
operator, so this module imports neither torch nor numpy.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from scenewright_stages.backends.runtime.errors import LicenceNotAccepted
from scenewright_stages.backends.runtime.registry import backend, check_licence, find_backend
from scenewright_stages.contract.backends import Weights, at_revision
from scenewright_stages.contract.pipeline import Resources, StageSpec


@dataclass(frozen=True)
class BackendChoice:
    """The backends that may serve one capability.

    Attributes:
        capability: such as ``segment``.
        names: the backends in fallback order; a single one has no fallback.
        variant: which weights; empty for the default. Alternatives always use their default weights.
        precision: arithmetic of a model; empty for its default.
        revision: branch, tag, commit or location of the weights; empty as declared.
    """

    capability: str
    names: tuple[str, ...]
    variant: str = ""
    precision: str = ""
    revision: str = ""

    @property
    def fixed_variant(self) -> str:
        """The variant, or empty for several backends, because a variant belongs to a single backend."""
        return self.variant if len(self.names) == 1 else ""

    @property
    def fixed_revision(self) -> str:
        """The revision, which like the variant belongs to a single backend."""
        return self.revision if len(self.names) == 1 else ""


def choices_of(stages: Sequence[StageSpec], parameters: Any, selected: Collection[str]) -> list[BackendChoice]:
    """The distinct choices of the selected stages, with variants and revisions from the parameters.

    If another stage's parameter names a stage's backend, the variant beside that parameter applies.
    """
    named = _named_weights(stages, parameters)
    found: dict[BackendChoice, None] = {}
    for stage in stages:
        if stage.name in selected:
            for capability, first in sorted(stage.models.backends.items()):
                names = (first, *stage.models.alternatives.get(capability, ()))
                elsewhere = named.get(("", capability, first), ("", ""))
                variant, revision = named.get((stage.name, capability, first), elsewhere)
                found[BackendChoice(capability, names, variant, revision=revision)] = None
    return list(found)


def licensed_weights(choice: BackendChoice, accepted: Iterable[str]) -> tuple[Weights, ...]:
    """The weights that the backends of a choice may load, in fallback order.

    Leaves out a backend without an accepted licence if a later one can serve.

    Raises:
        UnknownVariant: the backend has no such weights.
        LicenceNotAccepted: a licence is not accepted, and no later backend can serve.
    """
    accepted = frozenset(accepted)
    found: tuple[Weights, ...] = ()
    later_serves = False
    for name in reversed(choice.names):
        try:
            sets = weights_of(choice, name, accepted)
        except LicenceNotAccepted:
            if not later_serves:
                raise
            continue
        later_serves, found = True, (*sets, *found)
    return found


def weights_of(choice: BackendChoice, name: str, accepted: Iterable[str]) -> tuple[Weights, ...]:
    """The weights of one backend of a choice; empty for unknown backends and those without weights.

    Raises:
        UnknownVariant, LicenceNotAccepted: as in :func:`licensed_weights`.
    """
    facts = find_backend(choice.capability, name)
    if facts is None:
        return ()
    variant = choice.fixed_variant if facts.weights else ""
    return at_revision(check_licence(facts, variant or None, accepted), choice.fixed_revision)


def runs_on_gpu(choice: BackendChoice) -> bool:
    """Whether any backend of the choice is meant to run on a GPU."""
    return any(backend(choice.capability, name).device == "cuda" for name in choice.names)


def stage_resources(
    held: Sequence[BackendChoice],
    *,
    beside: Sequence[BackendChoice] = (),
    own_gpu_memory_gib: float = 0.0,
    cpu: float = Resources.cpu,
    memory_gib: float = Resources.memory_gib,
    scratch_gib: float = Resources.scratch_gib,
) -> Resources:
    """Resource requests of a stage's Pod: a GPU if a backend needs one, else those of a CPU stage.

    Args:
        held: choices whose backends are loaded at the same time. Their GPU memory is summed, with the largest
            alternative of each choice.
        beside: choices of other stages; if they need a GPU, this stage also uses one for its own work.
        own_gpu_memory_gib: GPU memory of the stage itself, without its backends.
        cpu, memory_gib, scratch_gib: further requests of a Pod with a GPU.
    """
    if not any(runs_on_gpu(choice) for choice in (*held, *beside)):
        return Resources()
    memory = own_gpu_memory_gib + sum(_gpu_memory(choice) for choice in held)
    return Resources(cpu, memory_gib, scratch_gib, gpus=1, gpu_memory_gib=memory)


def _gpu_memory(choice: BackendChoice) -> float:
    return max(
        backend(choice.capability, name).gpu_memory(choice.fixed_variant, choice.precision) for name in choice.names
    )


def _named_weights(stages: Sequence[StageSpec], parameters: Any) -> dict[tuple[str, str, str], tuple[str, str]]:
    """Variant and revision beside each parameter that names a backend, by stage, capability and backend.

    An entry without a stage has the last one's values, for stages that have no such parameter.
    """
    found: dict[tuple[str, str, str], tuple[str, str]] = {}
    for stage in stages:
        for capability, path in (*stage.models.weight_parameters.items(), *stage.models.backend_parameters.items()):
            block = parameters
            *parents, last = path.split(".")
            for part in parents:
                block = getattr(block, part)
            prefix = last.removesuffix("backend") if last.endswith("backend") else f"{last}_"
            if capability not in stage.models.backends or not hasattr(block, f"{prefix}variant"):
                continue
            named = (getattr(block, f"{prefix}variant"), getattr(block, f"{prefix}revision", ""))
            found[stage.name, capability, stage.models.backends[capability]] = named
            if any(named):
                found["", capability, stage.models.backends[capability]] = named
    return found
