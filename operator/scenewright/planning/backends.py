"""Backends of a chain: whether they exist, whether their licences are accepted, which revision they run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from scenewright.planning.problems import Problem, from_configuration_error
from scenewright_stages.contract.errors import ConfigurationError
from scenewright_stages.contract.pipeline import StageSpec
from scenewright_stages.models import registry
from scenewright_stages.models.specs import BackendSpec, Weights

RevisionOf = Callable[[Weights], str]


def declared_revision(weights: Weights) -> str:
    """The revision that the registry declares; a local executor may know the exact commit instead."""
    return weights.revision


def revisions(chain: Iterable[StageSpec], revision_of: RevisionOf = declared_revision) -> dict[str, str]:
    """Model id and revision of every backend in use, by ``capability/backend``; empty for weightless ones."""
    found: dict[str, str] = {}
    for spec in _in_use(chain):
        weights = spec.weights_of()
        found[f"{spec.capability}/{spec.name}"] = f"{weights.id}@{revision_of(weights)}" if weights else ""
    return found


def licence_problems(chain: Sequence[StageSpec], selected: Collection[str], accepted: Sequence[str]) -> list[Problem]:
    """One problem for each licence that the stages that may run need and the spec does not accept."""
    problems: dict[str, Problem] = {}
    for spec in _in_use(stage for stage in chain if stage.name in selected):
        try:
            registry.check_licence(spec, None, accepted)
        except ConfigurationError as error:
            problems.setdefault(str(error), from_configuration_error(error))
    return list(problems.values())


def _in_use(chain: Iterable[StageSpec]) -> Iterator[BackendSpec]:
    """The backends that the registry knows; a pipeline of the user's own may bring others."""
    known = registry.capabilities()
    for stage in chain:
        for capability, name in stage.backend_choices():
            if capability in known and name in {spec.name for spec in registry.backends(capability)}:
                yield registry.backend(capability, name)
