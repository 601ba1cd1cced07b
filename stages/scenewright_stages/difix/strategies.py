"""Expands a capture into trainings and pairs. Pure functions of the capture's index and the parameters.

A capture becomes one training per strategy and level, and each training becomes one pair per target photograph. Every
process derives the same family of samples.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from scenewright_stages.captures import ShotFacts, nearest, scene_name, shots_of
from scenewright_stages.contract.samples import Child, Sample
from scenewright_stages.difix.params import PairsParams

ItemT = TypeVar("ItemT")
NO_REFERENCE = -1
"""Number of the reference where no photograph may be it."""


@dataclass(frozen=True)
class Selection:
    """Photographs of one training by number.

    Attributes:
        trained: the training views.
        targets: the views to render.
    """

    trained: tuple[int, ...]
    targets: tuple[int, ...]


def trainings(sample: Sample, params: PairsParams) -> list[Child]:
    """One child of a capture per strategy and level that leaves target photographs."""
    shots = shots_of(sample)
    wanted = [(name, level) for name, level in _levels(shots, params) if select(name, level, shots).targets]
    return [Child(f"__{name}{level}", {"strategy": name, "level": level}) for name, level in wanted]


def pairs(sample: Sample, params: PairsParams) -> list[Child]:
    """One child of a training per pair; a target without an allowed reference gets reference -1."""
    shots, others = shots_of(sample), shots_of(sample, "others")
    strategy, level = str(sample.attributes["strategy"]), int(sample.attributes["level"])
    chosen = select(strategy, level, shots)
    found = []
    for target in evenly_spaced(chosen.targets, params.pairs_per_training):
        if params.reference.time == "other":
            # Append the target after the others, so that it is never its own reference.
            known, place = [*others, shots[target]], len(others)
            reference = nearest(known, place, _references(known, place, range(len(others)), params))
            name = pair_name(sample, shots, target, others, reference)
        else:
            seen = chosen.trained if params.reference.source == "trained" else range(len(shots))
            reference = nearest(shots, target, _references(shots, target, seen, params))
            name = pair_name(sample, shots, target, shots, reference)
        place = NO_REFERENCE if reference is None else reference
        found.append(Child(f"__{target}", {"pair": name, "target": target, "reference": place}))
    return found


def select(strategy: str, level: int, shots: Sequence[ShotFacts]) -> Selection:
    """Training views and targets of a strategy at a level."""
    everything = tuple(range(len(shots)))
    if strategy == "sparse":
        return Selection(everything[::level], tuple(each for each in everything if each % level))
    if strategy == "crossCamera":
        own = tuple(each for each in everything if shots[each].camera == level)
        return Selection(own, tuple(each for each in everything if shots[each].camera != level))
    return Selection(everything, everything)


def pair_name(
    training: Sample,
    shots: Sequence[ShotFacts],
    target: int,
    references: Sequence[ShotFacts],
    reference: int | None,
) -> str:
    """Id of a pair, unique over captures, strategies and levels."""
    facts, names = training.attributes, shot_names(references)
    camera, name = ("none", "none") if reference is None else (references[reference].camera, names[reference])
    return "{}__tcam{}__rccam{}__tf{}__rf{}__{}{}".format(
        scene_name(training), shots[target].camera, camera, shot_names(shots)[target], name,
        facts["strategy"], facts["level"],
    )  # fmt: skip


def shot_names(shots: Sequence[ShotFacts]) -> list[str]:
    """Path-safe names of a capture's photographs; names that collide within a camera get the number as suffix."""
    safe = [re.sub(r"[^A-Za-z0-9_.-]", "_", shot.name) for shot in shots]
    times = Counter((shot.camera, name) for shot, name in zip(shots, safe, strict=True))
    return [
        f"{name}-{number}" if times[shot.camera, name] > 1 else name
        for number, (shot, name) in enumerate(zip(shots, safe, strict=True))
    ]


def _levels(shots: Sequence[ShotFacts], params: PairsParams) -> Iterator[tuple[str, int]]:
    strategies = params.strategies
    for name, levels in (
        ("sparse", strategies.sparse),
        ("underfit", strategies.underfit),
        ("cycle", strategies.cycle),
    ):
        yield from ((name, level) for level in dict.fromkeys(levels))
    if strategies.cross_camera:
        yield from (("crossCamera", camera) for camera in sorted({shot.camera for shot in shots}))


def _references(
    shots: Sequence[ShotFacts], target: int, candidates: Iterable[int], params: PairsParams
) -> Iterator[int]:
    wanted = params.reference.camera
    for each in candidates:
        same = shots[each].camera == shots[target].camera
        if wanted == "any" or same == (wanted == "same"):
            yield each


def evenly_spaced(items: Sequence[ItemT], limit: int) -> list[ItemT]:
    """At most `limit` of the items, evenly spaced, including the first."""
    count = min(limit, len(items))
    return [items[place * len(items) // count] for place in range(count)]
