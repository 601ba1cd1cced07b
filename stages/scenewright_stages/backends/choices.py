"""What the backends that a stage names need: which weights, under which licences, and how large a Pod.

A :class:`BackendChoice` is one capability with the backends that may serve it, in the order in which they are asked.
Pipelines size their Pods from their choices; the planner and the ``models`` step ask which weights a choice may use.
The planner runs in the operator, so nothing here loads torch or numpy.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from scenewright_stages.backends.errors import LicenceNotAccepted
from scenewright_stages.backends.registry import backend, check_licence, find_backend
from scenewright_stages.contract.backends import Weights, at_revision
from scenewright_stages.contract.pipeline import Resources, StageSpec


@dataclass(frozen=True)
class BackendChoice:
    """The backends that may serve one capability.

    Attributes:
        capability: such as ``segment``.
        names: the backends, in the order in which they are asked; with a single one there is no fallback.
        variant: which weights; empty: the default. Alternatives always use their default weights.
        precision: arithmetic of a model; empty: its default.
        revision: branch, tag or commit of the weights, or where they lie; empty: as declared.
    """

    capability: str
    names: tuple[str, ...]
    variant: str = ""
    precision: str = ""
    revision: str = ""

    @property
    def fixed_variant(self) -> str:
        """The variant if it holds: a variant belongs to one backend, so a chain of several has none."""
        return self.variant if len(self.names) == 1 else ""

    @property
    def fixed_revision(self) -> str:
        """The revision, which belongs to one backend as the variant does."""
        return self.revision if len(self.names) == 1 else ""


def choices_of(stages: Sequence[StageSpec], parameters: Any, selected: Collection[str]) -> list[BackendChoice]:
    """The choices of the selected stages, each once, with the variants and revisions that the parameters name.

    A stage whose backend is named by another stage's parameter uses the variant beside that parameter.
    """
    named = _named_weights(stages, parameters)
    found: dict[BackendChoice, None] = {}
    for stage in stages:
        if stage.name in selected:
            for capability, first in sorted(stage.backends.items()):
                names = (first, *stage.alternatives.get(capability, ()))
                elsewhere = named.get(("", capability, first), ("", ""))
                variant, revision = named.get((stage.name, capability, first), elsewhere)
                found[BackendChoice(capability, names, variant, revision=revision)] = None
    return list(found)


def licensed_weights(choice: BackendChoice, accepted: Iterable[str]) -> tuple[Weights, ...]:
    """The weights that the backends of a choice may load, in the order in which the backends are asked.

    A backend whose licence is not accepted is left out if a later one can serve.

    Raises:
        UnknownVariant: the backend has no such weights.
        LicenceNotAccepted: a licence is not accepted, and no later backend can serve.
    """
    accepted = frozenset(accepted)
    found: tuple[Weights, ...] = ()
    later_serves = False
    for name in reversed(choice.names):
        try:
            sets = _checked(choice, name, accepted)
        except LicenceNotAccepted:
            if not later_serves:
                raise
            continue
        later_serves, found = True, (*sets, *found)
    return found


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
    """What a Pod of a stage asks for: a GPU where a backend needs one, else the resources of a CPU stage.

    Args:
        held: choices whose backends the stage holds at the same time; their GPU memory adds up, and of the
            alternatives of one choice the largest counts.
        beside: choices of other stages of the chain; where they need a GPU, this stage does its own work on one too.
        own_gpu_memory_gib: what the stage needs on the GPU besides its backends.
        cpu, memory_gib, scratch_gib: what a Pod with a GPU asks for besides it.
    """
    if not any(runs_on_gpu(choice) for choice in (*held, *beside)):
        return Resources()
    memory = own_gpu_memory_gib + sum(_gpu_memory(choice) for choice in held)
    return Resources(cpu, memory_gib, scratch_gib, gpus=1, gpu_memory_gib=memory)


def _gpu_memory(choice: BackendChoice) -> float:
    return max(
        backend(choice.capability, name).gpu_memory(choice.fixed_variant, choice.precision) for name in choice.names
    )


def _checked(choice: BackendChoice, name: str, accepted: frozenset[str]) -> tuple[Weights, ...]:
    """The weights of one backend; a backend that nobody declared, or that has none, needs no licence."""
    facts = find_backend(choice.capability, name)
    if facts is None or not facts.weights:
        return ()
    return at_revision(check_licence(facts, choice.fixed_variant or None, accepted), choice.fixed_revision)


def _named_weights(stages: Sequence[StageSpec], parameters: Any) -> dict[tuple[str, str, str], tuple[str, str]]:
    """Variant and revision that stand beside each parameter that names a backend.

    By stage, capability and backend; without a stage what the last of them says, for those that have no parameter.
    """
    found: dict[tuple[str, str, str], tuple[str, str]] = {}
    for stage in stages:
        for capability, path in (*stage.weight_parameters.items(), *stage.backend_parameters.items()):
            block = parameters
            *parents, last = path.split(".")
            for part in parents:
                block = getattr(block, part)
            prefix = last.removesuffix("backend") if last.endswith("backend") else f"{last}_"
            if capability not in stage.backends or not hasattr(block, f"{prefix}variant"):
                continue
            named = (getattr(block, f"{prefix}variant"), getattr(block, f"{prefix}revision", ""))
            found[stage.name, capability, stage.backends[capability]] = named
            if any(named):
                found["", capability, stage.backends[capability]] = named
    return found
