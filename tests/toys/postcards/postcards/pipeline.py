"""The pipeline as data: postcard -> views of each -> blends of siblings -> one card of each -> an album of all."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from postcards.listing import Entry, list_postcards
from scenewright_stages.contract.inputs import InputKind
from scenewright_stages.contract.outputs import OutputContract
from scenewright_stages.contract.params import Params, Rule
from scenewright_stages.contract.pipeline import INPUT, Ask, Pipeline, Read, Resources, StagePod, StageSpec
from scenewright_stages.contract.samples import Child

STAGES = f"{__package__}.stages"
SMALL = Resources(cpu=1.0, memory_gib=1.0, scratch_gib=1.0)


class PostcardParams(Params):
    """Postcards of words, sketched from several views and bound into an album."""

    views: int = Field(default=3, ge=1, le=9, description="Views of each postcard.")
    frames: int = Field(default=2, ge=1, le=20, description="Numbered files of each view.")
    least: int = Field(default=2, ge=1, le=9, description="Views that a card needs.")
    ink: str = Field(default="black", max_length=40, description="Word in every frame.")
    seconds: float = Field(default=0.0, ge=0.0, le=60.0, description="How long each sample takes at least.")

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "least",
            "self.least <= self.views",
            "must not be more than there are views",
            lambda block: bool(block.least <= block.views),
            ({"least": 4, "views": 3},),
        ),
    )


def stages(params: PostcardParams) -> tuple[StageSpec, ...]:
    """The chain, in the order in which it runs."""
    return sketch_stage(params), blend_stage(params), card_stage(params), album_stage()


def sketch_stage(params: PostcardParams) -> StageSpec:
    """Draws each view of a postcard as numbered files."""
    children = [Child(f"_{view}", {"view": view}) for view in _views(params)]
    return StageSpec(
        name="sketch",
        title="Sketch the views",
        version=1,
        implementation=f"{STAGES}:Sketch",
        reads=(Read(INPUT, ("front",)),),
        outputs=(
            OutputContract(
                "frames", "{split}/{sample}/frame-{number:03d}.txt", "text", form="numbered", maximum_files=20
            ),
        ),
        parameters=("frames", "ink"),
        attributes=("motto", "smudged", "view"),
        expands=lambda sample: children,
        pod=StagePod(resources=SMALL, seconds_per_sample=0.1),
    )


def blend_stage(params: PostcardParams) -> StageSpec:
    """Mixes the frames of a view with those of its siblings."""
    return StageSpec(
        name="blend",
        title="Blend siblings",
        version=1,
        implementation=f"{STAGES}:Blend",
        reads=(Read("sketch", ("frames",)), Read("sketch", ("frames",), of="siblings", at_least=params.least)),
        outputs=(OutputContract("blend", "{split}/{sample}/blend.txt", "text"),),
        attributes=("view",),
        pod=StagePod(resources=SMALL, seconds_per_sample=0.1),
    )


def card_stage(params: PostcardParams) -> StageSpec:
    """Gathers the views of a postcard under the cover that a person chose."""
    return StageSpec(
        name="card",
        title="Make the card",
        version=1,
        implementation=f"{STAGES}:Card",
        reads=(Read(INPUT, ("back",)), Read("blend", of="children", at_least=params.least)),
        outputs=(OutputContract("card", "{split}/{sample}.json", "json", json_keys=("cover", "views")),),
        attributes=("motto", "view"),
        asks=Ask("answers/{sample}.json", lambda sample: {"cover": _views(params)}, "Which view goes on the cover?"),
        pod=StagePod(resources=SMALL, seconds_per_sample=0.1),
    )


def album_stage() -> StageSpec:
    """Binds all cards into one album."""
    return StageSpec(
        name="album",
        title="Bind the album",
        version=1,
        implementation=f"{STAGES}:Album",
        reads=(Read("card", of="children"),),
        outputs=(OutputContract("album", "album.json", "json", json_keys=("cards",)),),
        attributes=("split",),
        pod=StagePod(resources=SMALL, seconds_per_sample=0.1),
    )


def _views(params: PostcardParams) -> tuple[str, ...]:
    return tuple(f"v{number}" for number in range(params.views))


PIPELINE = Pipeline(
    name="postcards",
    kind="DatasetJob",
    params=PostcardParams,
    stages=stages,
    input=InputKind(entry=Entry, lister=list_postcards),
    entry_parameters=("frames",),
    catalogue=f"{__package__}.catalogue:index_files",
    chosen=f"{__package__}.catalogue:chosen_files",
    hosts=("tuning_runs/",),
)
