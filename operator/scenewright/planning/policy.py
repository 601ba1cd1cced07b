"""``models.policy``: replaces backends that a spec leaves at their defaults, and refuses restricted weights.

Restricted weights must be accepted by name anyway, so the policy takes their licences off the accepted ones: planner,
models step and worker then refuse the files by the check that they already have. The facts of the backends say which
weights are restricted and which backend of a capability is best; nothing is listed here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

from pydantic import ValidationError
from pydantic.alias_generators import to_camel

from scenewright.api.scheduling import Models
from scenewright.planning.backends import licence_problems
from scenewright.planning.documents import with_value
from scenewright.planning.problems import Problem
from scenewright_stages.backends.runtime.choices import BackendChoice, choices_of, licensed_weights
from scenewright_stages.backends.runtime.errors import LicenceNotAccepted
from scenewright_stages.backends.runtime.registry import backends, find_backend
from scenewright_stages.contract.backends import BackendFacts, Licensed
from scenewright_stages.contract.errors import ConfigurationError
from scenewright_stages.contract.params import Params
from scenewright_stages.contract.pipeline import Pipeline, StageSpec

PERMISSIVE = "permissive"
_FIELD = "spec.models.policy"
_UNSET = object()
Chain = tuple[StageSpec, ...]


@dataclass(frozen=True)
class Slot:
    """A parameter that names a stage's backend."""

    capability: str
    path: tuple[str, ...]

    @property
    def variant_path(self) -> tuple[str, ...]:
        """The parameter for the variant beside it: ``variant`` for ``backend``, ``refine_variant`` for ``refine``."""
        *parents, last = self.path
        prefix = last.removesuffix("backend") if last.endswith("backend") else f"{last}_"
        return (*parents, f"{prefix}variant")


def restricted_licences() -> frozenset[str]:
    """Licences of weights and methods that forbid commercial use."""
    return frozenset(each.licence for facts in backends() for each in _licensed(facts) if each.non_commercial)


def usable_licences(models: Models) -> list[str]:
    """The licences whose weights a run may load: the accepted ones that the policy permits."""
    if models.policy != PERMISSIVE:
        return list(models.accept_licenses)
    restricted = restricted_licences()
    return [licence for licence in models.accept_licenses if licence not in restricted]


def best_permitted(
    pipeline: Pipeline,
    parameters: Params,
    accepted: Collection[str],
    kept: Collection[str] = (),
    *,
    open_slots: bool = False,
) -> tuple[Params, Chain]:
    """The parameters with the best permitted backend in each slot that is at its default, and their chain.

    The choice of a slot may add stages, whose slots follow. A backend that the pipeline's own rules refuse beside the
    other parameters is passed over.

    Args:
        accepted: licences that weights may have besides permissive ones.
        kept: names of stages whose backend ``stageOverrides`` sets.
        open_slots: replace given backends, too.
    """
    chain, decided = pipeline.stages(parameters), set[tuple[str, ...]]()
    while slot := next((each for each in _slots(chain, kept) if each.path not in decided), None):
        decided.add(slot.path)
        if open_slots or (_at_default(parameters, slot.path) and _at_default(parameters, slot.variant_path)):
            parameters = _with_best(pipeline, parameters, slot, frozenset(accepted))
            chain = pipeline.stages(parameters)
    return parameters, chain


def policy_problems(
    chain: Sequence[StageSpec], parameters: Params, selected: Collection[str], accepted: Sequence[str]
) -> list[Problem]:
    """One problem for each selected stage and capability that only restricted weights would serve.

    Licences that the policy permits, but that must be accepted by name, are problems as without it.
    """
    restricted, found = restricted_licences(), dict[Problem, None]()
    for stage in chain:
        for choice in choices_of(chain, parameters, [stage.name]) if stage.name in selected else ():
            try:
                licensed_weights(choice, accepted)
            except LicenceNotAccepted as error:
                if error.licence in restricted:
                    found.setdefault(_refused(stage, choice, frozenset(accepted)))
            except ConfigurationError:
                continue  # Such as an unknown variant: reported below.
    others = licence_problems(chain, parameters, selected, [*accepted, *restricted])
    return [*found, *others]


@dataclass(frozen=True)
class Served:
    """How a pipeline gets a capability under the policy.

    Attributes:
        pipeline, capability: which one of which.
        stages: that use it.
        facts: of the best permitted backend; None if there is none.
        variant: of its weights; empty for the default or without weights.
        restricted: backends that the pipeline offers and whose weights the policy refuses, best first.
        without: parameter and value that do without the capability, such as ``expansion.backend: classic``.
    """

    pipeline: str
    capability: str
    stages: tuple[str, ...]
    facts: BackendFacts | None
    variant: str = ""
    restricted: tuple[str, ...] = ()
    without: str = ""


def served_capabilities(pipeline: Pipeline) -> list[Served]:
    """What the policy gives each capability of a pipeline, over its examples and a photograph without a manifest.

    Gated weights that allow commercial use count as accepted.
    """
    accepted = {each.licence for facts in backends() for each in _licensed(facts)} - restricted_licences()
    stages: dict[str, dict[str, None]] = {}
    slots: dict[str, tuple[Slot, Params]] = {}
    taken: dict[str, str] = {}
    for block in (*pipeline.sample_blocks(), pipeline.photograph_block(1, 1)):
        given = pipeline.parse(block)
        _, best = best_permitted(pipeline, given, accepted, open_slots=True)
        for stage in (*pipeline.stages(given), *best):
            for capability in stage.models.backends:
                stages.setdefault(capability, {})[stage.name] = None
        for slot in _slots(pipeline.stages(given), ()):
            slots.setdefault(slot.capability, (slot, given))
        for capability, name in (each for stage in best for each in stage.models.backends.items()):
            facts = find_backend(capability, name)
            if facts and permitted_variant(facts, accepted) is not None:
                taken.setdefault(capability, name)
    return [
        _served(pipeline, capability, tuple(names), taken.get(capability, ""), slots.get(capability), accepted)
        for capability, names in stages.items()
    ]


def _served(
    pipeline: Pipeline,
    capability: str,
    stages: tuple[str, ...],
    taken: str,
    slot: tuple[Slot, Params] | None,
    accepted: Collection[str],
) -> Served:
    known = sorted(backends(capability), key=_by_rank)
    permitted = [facts for facts in known if permitted_variant(facts, accepted) is not None]

    def is_offered(facts: BackendFacts) -> bool:
        return facts.name == taken or (slot is not None and _offers(pipeline, *slot, facts.name))

    restricted = tuple(facts.name for facts in known if facts not in permitted and (not slot or is_offered(facts)))
    offered = [facts for facts in permitted if is_offered(facts)]
    facts = next((facts for facts in offered if facts.name == taken), next(iter(offered), None))
    without = ""
    if slot and facts is None:
        default = _default(slot[1], slot[0].path)
        if isinstance(default, str) and not find_backend(capability, default):
            without = f"{'.'.join(_aliases(slot[0].path))}: {default}"
    variant = (permitted_variant(facts, accepted) or "") if facts else ""
    return Served(pipeline.name, capability, stages, facts, variant, restricted, without)


def _offers(pipeline: Pipeline, slot: Slot, given: Params, name: str) -> bool:
    """Whether the pipeline takes the backend beside its defaults, or beside the given parameters."""
    for block in ({}, given.model_dump(by_alias=True, exclude_unset=True)):
        try:
            pipeline.parse(with_value(block, _aliases(slot.path), name))
        except ValidationError:
            continue
        return True
    return False


def permitted_variant(facts: BackendFacts, accepted: Collection[str]) -> str | None:
    """The best variant of a backend that may be used, empty without variants; None if no variant may be used."""
    names = dict.fromkeys(name for name in (facts.best_variant, *facts.weights) if name) or {"": None}
    for name in names:
        licensed = facts.licensed(name or None)
        if not any(each.non_commercial or (each.gated and each.licence not in accepted) for each in licensed):
            return name
    return None


def _refused(stage: StageSpec, choice: BackendChoice, accepted: frozenset[str]) -> Problem:
    """A restricted backend, with the parameter that names it and those that would be permitted."""
    path = {**stage.models.weight_parameters, **stage.models.backend_parameters}.get(choice.capability, "")
    names = [
        facts.name
        for facts in backends(choice.capability)
        if facts.name not in choice.names and permitted_variant(facts, accepted) is not None
    ]
    none = f"no other backend of {choice.capability} has weights that allow it"
    others = f"permitted: {', '.join(names)}" if names else none
    field = f" (parameter {'.'.join(to_camel(part) for part in path.split('.'))})" if path else ""
    licences = dict.fromkeys(
        each.licence
        for name in choice.names
        if (facts := find_backend(choice.capability, name))
        for each in facts.licensed((choice.fixed_variant or None) if facts.weights else None)
        if each.non_commercial
    )
    remedy = (
        f"stage {stage.name}{field} would use {' and '.join(choice.names)}, whose licence {' and '.join(licences)} "
        f"forbids commercial use; {others}"
    )
    return Problem(_FIELD, PERMISSIVE, remedy)


def _slots(chain: Chain, kept: Collection[str]) -> Iterator[Slot]:
    for stage in chain:
        models = stage.models
        overridden = models.backend_parameters if stage.name in kept else {}
        for capability, path in {**models.weight_parameters, **models.backend_parameters}.items():
            if capability in models.backends and capability not in overridden:
                yield Slot(capability, tuple(path.split(".")))


def _with_best(pipeline: Pipeline, parameters: Params, slot: Slot, accepted: frozenset[str]) -> Params:
    """The parameters with the first of the slot's candidates that the pipeline's rules allow; else unchanged."""
    for name, variant in _candidates(slot, parameters, accepted):
        block = parameters.model_dump(by_alias=True, exclude_unset=True)
        block = with_value(block, _aliases(slot.path), name)
        if _value(parameters, slot.variant_path) is not _UNSET:
            block = with_value(block, _aliases(slot.variant_path), variant)
        elif variant:
            continue
        try:
            return pipeline.parse(block)
        except ValidationError:
            continue
    return parameters


def _candidates(slot: Slot, parameters: Params, accepted: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Permitted backends and variants of a slot, best first: ranked ones, the present one, the rest, the default.

    The default variant is written as an empty name wherever it is the one that counts.
    """
    present = _value(parameters, slot.path)
    for facts in sorted(backends(slot.capability), key=lambda facts: (_by_rank(facts), facts.name != present)):
        variant = permitted_variant(facts, accepted)
        if variant is not None and not (facts.reads and facts.name != present):
            yield facts.name, "" if variant == next(iter(facts.weights), "") else variant
    default = _default(parameters, slot.path)
    if isinstance(default, str) and not find_backend(slot.capability, default):
        yield default, ""


def _by_rank(facts: BackendFacts) -> int:
    return -facts.rank


def _licensed(facts: BackendFacts) -> list[Licensed]:
    return [each for variant in facts.weights or [None] for each in facts.licensed(variant)]


def _aliases(path: Sequence[str]) -> list[str]:
    return [to_camel(part) for part in path]


def _at_default(parameters: Params, path: Sequence[str]) -> bool:
    return bool(_value(parameters, path) == _default(parameters, path))


def _value(parameters: Params, path: Sequence[str]) -> Any:
    """The field at a path; `_UNSET` if the block has no such field."""
    return vars(reduce(getattr, path[:-1], parameters)).get(path[-1], _UNSET)


def _default(parameters: Params, path: Sequence[str]) -> Any:
    """The default of the field at a path; `_UNSET` if the block has no such field."""
    field = type(reduce(getattr, path[:-1], parameters)).model_fields.get(path[-1])
    return field.get_default(call_default_factory=True) if field else _UNSET
