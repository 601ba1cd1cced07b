"""Which samples each stage works on when stages expand them: pure functions of the chain and the indexed sample.

A stage's level is the number of expansions up to and including it. Stages that read an expanded sample's upstream at a
lower level find it under the id of the sample that it was expanded from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from scenewright_stages.contract.errors import ConfigurationError
from scenewright_stages.contract.pipeline import StageSpec
from scenewright_stages.contract.samples import Sample, is_sample_id


def stage_levels(stages: Sequence[StageSpec]) -> dict[str, int]:
    """Level of every stage by name; 0 for those that work on the indexed samples.

    Raises:
        ConfigurationError: two stages expand the same samples, so that nothing would say which children are meant.
    """
    levels: dict[str, int] = {}
    expanding: dict[int, str] = {}
    for stage in stages:
        level = max((levels[name] for name in stage.upstream()), default=0)
        if stage.expands:
            level += 1
            if other := expanding.get(level):
                raise ConfigurationError("stages", stage.name, f"expands the same samples as {other}")
            expanding[level] = stage.name
        levels[stage.name] = level
    return levels


def children(sample: Sample, endings: Sequence[str]) -> tuple[Sample, ...]:
    """The samples that one becomes; they keep its files and attributes.

    Raises:
        ConfigurationError: the longer id is no id any more.
    """
    made = tuple(
        replace(sample, id=f"{sample.id}{ending}", ancestors=(*sample.ancestors, sample.id)) for ending in endings
    )
    for child in made:
        if not is_sample_id(child.id):
            raise ConfigurationError("sample", child.id, "is too long once expanded; shorten the file name")
    return made


def leaves(sample: Sample, stages: Sequence[StageSpec]) -> tuple[Sample, ...]:
    """What an indexed sample finally becomes: itself where nothing expands."""
    found: tuple[Sample, ...] = (sample,)
    for stage in stages:
        if stage.expands:
            found = tuple(child for parent in found for child in children(parent, stage.expands))
    return found


def ancestor(sample: Sample, level: int) -> Sample:
    """The sample of that level on the way from the indexed one to this one."""
    if level == len(sample.ancestors):
        return sample
    return replace(sample, id=sample.id_at(level), ancestors=sample.ancestors[:level])
