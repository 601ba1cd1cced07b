"""Parameters of the pairs of artefact and truth, and of the run that tunes a fixer on them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from scenewright_stages.captures import Exposure, TrainingParams, exposure_field
from scenewright_stages.contract.params import Params, Rule, ordered

Percent = Annotated[int, Field(ge=1, le=100)]
Group = Annotated[str, Field(max_length=128)]
Decibels = Annotated[list[Annotated[float, Field(ge=0.0, le=100.0)]], Field(min_length=2, max_length=2)]


class StrategyParams(Params):
    """How trainings are spoilt so that they show artefacts; an empty list leaves a strategy out."""

    sparse: list[Annotated[int, Field(ge=2, le=64)]] = Field(
        default=[3, 6],
        max_length=8,
        description="Train on every n-th photograph alone and render the others; one training for each n.",
    )
    underfit: list[Percent] = Field(
        default=[10],
        max_length=8,
        description="Train on all photographs and stop after this percentage of the steps.",
    )
    cycle: list[Percent] = Field(
        default=[],
        max_length=8,
        description="Train, render from cameras that all moved ahead and to one side by this percentage of the "
        "distance to what they see, train on those pictures and render back. 40 suits most captures; 10 hardly shows.",
    )
    cross_camera: bool = Field(
        default=False, description="Train on the photographs of one camera of several and render the others."
    )


class ReferenceParams(Params):
    """Which photograph goes with a pair as the reference: the nearest of those that are allowed."""

    source: Literal["trained", "any"] = Field(
        default="trained", description="trained: one that the spoilt training has seen; any: every other photograph."
    )
    camera: Literal["any", "same", "other"] = Field(
        default="any", description="Whether it is of the target's own camera."
    )
    time: Literal["same", "other"] = Field(
        default="same",
        description="same: of the target's own moment; other: of fixed cameras' moment before (for the first: after), "
        "which no training has seen, so that source does not matter.",
    )


class GateParams(Params):
    """What a pair must meet; one that does not is dropped with its reason."""

    psnr: Decibels = Field(
        default=[12.0, 28.0],
        description="Least and largest PSNR of the render in dB: below, it shows something else; above, there is "
        "nothing to learn.",
    )
    registration: float = Field(
        default=0.8,
        ge=0.0,
        le=20.0,
        description="Largest gain in dB that a shift of the render by one or two pixels may bring.",
    )
    agreement: float = Field(
        default=0.4,
        ge=-1.0,
        le=1.0,
        description="Least correlation of the target's structure with that of the render or of the warped reference. "
        "Photographs of other places lie below 0.35; flawed renders of the right place above 0.43.",
    )
    blur: float = Field(
        default=0.35,
        ge=0.0,
        le=1.0,
        description="Least sharpness of the target relative to the median of its capture: deviation of the Laplacian "
        "relative to that of the brightness. Sound photographs lie above 0.6, blurred ones below 0.3.",
    )
    coverage: float = Field(default=0.5, ge=0.0, le=1.0, description="Least share of the render that is covered.")

    rules: ClassVar[tuple[Rule, ...]] = ordered(psnr=(30.0, 20.0))


class SplitParams(Params):
    """Which groups are for training and which for testing; a group is never in both."""

    test_fraction: float = Field(
        default=0.2,
        ge=0.0,
        le=0.9,
        description="Share of the groups that test, drawn by the hash of the group's name: a new group moves no other.",
    )
    train: list[Group] = Field(default=[], max_length=200, description="Groups that train, whatever their hash.")
    test: list[Group] = Field(default=[], max_length=200, description="Groups that test, whatever their hash.")

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "test",
            "self.test.all(name, !(name in self.train))",
            "names a group that is in train too",
            lambda block: not set(block.test) & set(block.train),
            ({"train": ["a"], "test": ["a"]},),
        ),
    )

    def side(self, group: str) -> Literal["train", "test"]:
        """Where a group belongs."""
        if group in self.train or group in self.test:
            return "train" if group in self.train else "test"
        draw = int.from_bytes(hashlib.blake2b(group.encode(), digest_size=8).digest()) / 2**64
        return "test" if draw < self.test_fraction else "train"


class GroupParams(Params):
    """What makes a group: samples of one group are never split."""

    pattern: str = Field(
        default="",
        max_length=200,
        description="Regular expression; the part of the scene's name that it finds (its first bracket, if it has one) "
        "names the group, such as pair[0-9]+ for HI4D. Empty: the scene's name.",
    )
    field: str = Field(
        default="",
        max_length=64,
        description="Field of the capture's capture.json whose value names the group, such as pair_id. A capture "
        "without it gives no pair.",
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "field",
            "self.field == '' || self.pattern == ''",
            "contradicts pattern: give either",
            lambda block: not (block.field and block.pattern),
            ({"field": "pair_id", "pattern": "pair[0-9]+"},),
        ),
    )

    def group_of(self, scene: str, facts: Mapping[str, Any]) -> str:
        """The group of a scene; one in which the pattern finds nothing is a group of its own.

        Args:
            scene: its name.
            facts: what its ``capture.json`` says.

        Raises:
            KeyError: the field is not among the facts.
        """
        if self.field:
            return str(facts[self.field])
        found = re.search(self.pattern, scene) if self.pattern else None
        return (found.group(1 if found.lastindex else 0) or scene) if found else scene


class SourceParams(Params):
    """What holds for the captures of one folder of the input."""

    uri: str = Field(
        default=".",
        min_length=1,
        max_length=1024,
        description="Folder below the input, such as hi4d; . is the whole input. A capture belongs to the first source "
        "that holds it.",
    )
    dataset: str = Field(default="", max_length=64, description="Name of the data set; empty: as without sources.")
    group_by: GroupParams = GroupParams()

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "uri",
            "!self.uri.startsWith('/') && !self.uri.startsWith('..') && !self.uri.contains(':')",
            "must be a folder below input.uri: let that be the folder or prefix that holds all sources",
            lambda block: not block.uri.startswith(("/", "..")) and ":" not in block.uri,
            ({"uri": "s3://captures/hi4d"}, {"uri": "/data/hi4d"}, {"uri": "../hi4d"}),
        ),
    )

    def holds(self, folder: str) -> bool:
        """Whether a folder of the input, with a trailing slash, lies in it."""
        prefix = self.uri.removeprefix("./").rstrip("/")
        return prefix in ("", ".") or folder.startswith(prefix + "/")


class DataJsonParams(Params):
    """The file that trainers read."""

    paths: Literal["relative", "absolute"] = Field(
        default="relative",
        description="relative: below the data set's root, from which a trainer has to be started; absolute: below the "
        "output URI.",
    )


class PairsParams(Params):
    """Captures become pairs of artefact and truth with a reference view, for fixers in the manner of DiFix."""

    dataset: str = Field(
        default="captures", max_length=64, description="Name of the data set in the samples' metadata."
    )
    max_resolution: int = Field(
        default=576, ge=32, le=2048, description="Longest side of the photographs and renders in pixels."
    )
    exposure: Exposure = exposure_field()
    training: TrainingParams = TrainingParams()
    strategies: StrategyParams = StrategyParams()
    reference: ReferenceParams = ReferenceParams()
    gates: GateParams = GateParams()
    group_by: GroupParams = GroupParams()
    sources: list[SourceParams] = Field(
        default=[],
        max_length=50,
        description="Folders of the input with a data set's name and groups of their own, for captures of several "
        "kinds in one data set.",
    )
    split: SplitParams = SplitParams()
    data_json: DataJsonParams = DataJsonParams()
    pairs_per_training: int = Field(
        default=64, ge=1, le=5000, description="Pairs that one training gives at most, evenly over the photographs."
    )

    def source_of(self, folder: str) -> SourceParams | None:
        """The source of a capture by its folder below the input, with a trailing slash."""
        return next((each for each in self.sources if each.holds(folder)), None)
