"""Backends of a chain: whether their licences are accepted, which revision they run, and in which image."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from scenewright.planning.problems import Problem, from_configuration_error
from scenewright_stages.backends.choices import choices_of, licensed_weights
from scenewright_stages.backends.registry import find_backend
from scenewright_stages.contract.backends import Weights, at_revision
from scenewright_stages.contract.errors import ConfigurationError
from scenewright_stages.contract.params import Params
from scenewright_stages.contract.pipeline import CPU_IMAGE, IMAGES, StageSpec

RevisionOf = Callable[[Weights], str]


def declared_revision(weights: Weights) -> str:
    """The revision that the registry declares; a local executor may know the exact commit instead."""
    return weights.revision


def revisions(chain: Iterable[StageSpec], revision_of: RevisionOf = declared_revision) -> dict[str, str]:
    """Model id and revision of every backend in use, by ``capability/backend``; empty for weightless ones.

    Those of a backend that needs several sets of weights are joined by ``+``. A backend that nobody declared is left
    out: a pipeline of the user's own may bring it.
    """
    found: dict[str, str] = {}
    for stage in chain:
        for capability, name in stage.backend_choices():
            facts = find_backend(capability, name)
            if facts is not None:
                sets = facts.weights_of()
                found[f"{capability}/{name}"] = "+".join(f"{weights.id}@{revision_of(weights)}" for weights in sets)
    return found


def located_revisions(chain: Sequence[StageSpec], parameters: Params, revision_of: RevisionOf) -> dict[str, str]:
    """Place and content of weights that the parameters name by their place, by ``capability/backend``.

    The place of a checkpoint says nothing about its content. Where the planner can read it, other weights at the same
    place change the keys.
    """
    found: dict[str, list[str]] = {}
    for choice in choices_of(chain, parameters, [stage.name for stage in chain]):
        facts = find_backend(choice.capability, choice.names[0])
        if facts is None or choice.fixed_variant not in ("", *facts.weights):
            continue
        for weights in at_revision(facts.weights_of(choice.fixed_variant or None), choice.fixed_revision)[:1]:
            if weights.location:
                place = f"{weights.location}@{revision_of(weights)}"
                found.setdefault(f"{choice.capability}/{facts.name}", []).append(place)
    return {name: "+".join(sorted(set(places))) for name, places in found.items()}


def licence_problems(
    chain: Sequence[StageSpec], parameters: Params, selected: Collection[str], accepted: Sequence[str]
) -> list[Problem]:
    """One problem for each licence that the stages that may run need and the spec does not accept.

    A refused licence is no problem where the spec lists a later backend that can serve instead.
    """
    problems: dict[str, Problem] = {}
    for choice in choices_of(chain, parameters, selected):
        try:
            licensed_weights(choice, accepted)
        except ConfigurationError as error:
            problems.setdefault(str(error), from_configuration_error(error))
    return list(problems.values())


def image_of(stage: StageSpec, *, on_gpu: bool) -> str:
    """Name of the image in which a stage runs: the smallest that has what the stage and its backends need.

    An image that is not one of ours is taken as it is: a pipeline or a backend of the user's own may bring one.
    """
    found = [facts for choice in stage.backend_choices() if (facts := find_backend(*choice)) is not None]
    needed = [stage.image if on_gpu or stage.image not in IMAGES else CPU_IMAGE]
    needed += [facts.image for facts in found if facts.image]
    foreign = [image for image in needed if image not in IMAGES]
    return foreign[0] if foreign else max(needed, key=IMAGES.index)
