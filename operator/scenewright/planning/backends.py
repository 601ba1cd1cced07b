"""Backends of a chain: whether their licences are accepted, their revisions, and the images they run in."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from scenewright.planning.problems import Problem, from_configuration_error
from scenewright_stages.backends.runtime.cache.weights import require_weights
from scenewright_stages.backends.runtime.choices import BackendChoice, choices_of, licensed_weights, weights_of
from scenewright_stages.backends.runtime.errors import LicenceNotAccepted, MissingWeights
from scenewright_stages.backends.runtime.registry import find_backend
from scenewright_stages.contract.backends import Weights, at_revision
from scenewright_stages.contract.errors import ConfigurationError
from scenewright_stages.contract.params import Params
from scenewright_stages.contract.pipeline import CPU_IMAGE, IMAGES, StageSpec

RevisionOf = Callable[[Weights], str]


def declared_revision(weights: Weights) -> str:
    """The revision in the registry; a local executor may use the exact commit instead."""
    return weights.revision


def revisions(chain: Iterable[StageSpec], revision_of: RevisionOf = declared_revision) -> dict[str, str]:
    """Model id and revision of each backend in use, by ``capability/backend``; empty for backends without weights.

    Several sets of weights of one backend are joined by ``+``. Unregistered backends are skipped: they belong to a
    user's own pipeline.
    """
    found: dict[str, str] = {}
    for stage in chain:
        for capability, name in stage.models.choices():
            facts = find_backend(capability, name)
            if facts is not None:
                sets = facts.weights_of()
                found[f"{capability}/{name}"] = "+".join(f"{weights.id}@{revision_of(weights)}" for weights in sets)
    return found


def located_revisions(chain: Sequence[StageSpec], parameters: Params, revision_of: RevisionOf) -> dict[str, str]:
    """Location and revision of weights that the parameters give by location, by ``capability/backend``.

    The location of a checkpoint does not identify its content. If `revision_of` can read the content, replacing the
    weights at the same location changes the keys.
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
    """One problem for each licence that the selected stages need and the spec does not accept.

    A refused licence is not a problem if the spec lists another backend to fall back to.
    """
    problems: dict[str, Problem] = {}
    for choice in choices_of(chain, parameters, selected):
        try:
            licensed_weights(choice, accepted)
        except ConfigurationError as error:
            problems.setdefault(str(error), from_configuration_error(error))
    return list(problems.values())


def weights_problems(
    chain: Sequence[StageSpec], parameters: Params, stages: Collection[str], accepted: Sequence[str], cache_dir: Path
) -> list[Problem]:
    """One problem for each set of weights that a model cache lacks, and without which the stages could not run.

    A choice of several backends needs the weights of one. If none has them, the first with an accepted licence counts.
    """
    needed_by: dict[Problem, dict[str, None]] = {}
    for stage in (each.name for each in chain if each.name in stages):
        for choice in choices_of(chain, parameters, [stage]):
            for problem in _lacking(choice, accepted, cache_dir):
                needed_by.setdefault(problem, {})[stage] = None
    return [replace(each, remedy=f"{each.remedy}; {_need(tuple(needing))} it") for each, needing in needed_by.items()]


def _need(stages: Sequence[str]) -> str:
    return f"stages {' and '.join(stages)} need" if len(stages) > 1 else f"stage {stages[0]} needs"


def _lacking(choice: BackendChoice, accepted: Sequence[str], cache_dir: Path) -> list[Problem]:
    """What the first permitted backend of a choice lacks; empty if any can serve."""
    lacking: list[list[Problem]] = []
    for name in choice.names:
        try:
            permitted = weights_of(choice, name, accepted)
        except LicenceNotAccepted:
            continue
        lacking.append([])
        for weights in permitted:
            try:
                require_weights(weights, cache_dir)
            except MissingWeights as error:
                lacking[-1].append(Problem(error.field, error.value, error.remedy))
    return lacking[0] if lacking and all(lacking) else []


def image_of(stage: StageSpec, *, on_gpu: bool) -> str:
    """Name of the smallest image that has what the stage and its backends need.

    An unknown image wins: it belongs to a user's own pipeline or backend.
    """
    found = [facts for choice in stage.models.choices() if (facts := find_backend(*choice)) is not None]
    needed = [stage.pod.image if on_gpu or stage.pod.image not in IMAGES else CPU_IMAGE]
    needed += [facts.image for facts in found if facts.image]
    foreign = [image for image in needed if image not in IMAGES]
    return foreign[0] if foreign else max(needed, key=IMAGES.index)
