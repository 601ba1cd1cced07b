"""A pipeline of families: paints several views of each photograph, mixes siblings, gathers albums, makes one poster.

Outputs are numbered files, folders and paths with attributes in them. What its code ran is noted in a list.
"""

from __future__ import annotations

from typing import Any

from scenewright_stages.contract.errors import SampleError
from scenewright_stages.contract.inputs import InputKind
from scenewright_stages.contract.outputs import OutputContract
from scenewright_stages.contract.params import Params
from scenewright_stages.contract.pipeline import INPUT, Ask, Pipeline, Read, StageSpec
from scenewright_stages.contract.samples import Child, Sample
from scenewright_stages.contract.stage import Stage, StageInputs, StageResult

RAN: list[tuple[str, str]] = []
"""Every time that a sample's code ran, as (stage, sample)."""


class ViewParams(Params):
    """Of the pipeline.

    Attributes:
        views: of each photograph.
        frames: numbered files of each view; the folder of notes has one file more.
        ink: text in every frame.
        bad: views whose id contains this fail.
        least: views that an album needs, and a mixture.
        ask: whether a person chooses the cover of each album.
    """

    views: int = 3
    frames: int = 2
    ink: str = "black"
    bad: str = "!"
    least: int = 2
    ask: bool = False


class Entry(Params):
    """What a list may say of a photograph."""

    prompt: str = ""
    album: str = ""
    page_count: int = 1


def stages(params: ViewParams) -> tuple[StageSpec, ...]:
    """paint -> mix (of each view) -> album (of each photograph) -> poster (of the whole job)."""
    names = tuple(f"v{number}" for number in range(params.views))
    children = [Child(f"_{name}", {"view": name}) for name in names]
    question = Ask("{sample}/answer.json", lambda sample: {"cover": names}, "Which view goes on the cover?")
    paint = StageSpec(
        name="paint",
        version=1,
        implementation="toy_views:Paint",
        reads=(Read(INPUT),),
        outputs=(
            OutputContract(
                "frames", "{sample}/frames/{number:03d}.txt", "text", form="numbered", minimum_files=0, maximum_files=9
            ),
            OutputContract("notes", "{sample}/notes/", "text", form="folder", result=False),
        ),
        parameters=("views", "frames", "ink"),
        attributes=("prompt", "view"),
        expands=lambda sample: children,
    )
    mix = StageSpec(
        name="mix",
        version=1,
        implementation="toy_views:Mix",
        reads=(Read("paint", ("frames",), of="siblings", at_least=params.least), Read("paint", ("notes",))),
        outputs=(OutputContract("mixture", "mixed/{view}/{sample}.txt", "text"),),
    )
    album = StageSpec(
        name="album",
        version=1,
        implementation="toy_views:Album",
        reads=(Read(INPUT), Read("mix", of="children", at_least=params.least)),
        outputs=(OutputContract("album", "albums/{album}.txt", "text"),),
        parameters=("least",),
        asks=question if params.ask else None,
    )
    poster = StageSpec(
        name="poster",
        version=1,
        implementation="toy_views:Poster",
        reads=(Read("album", of="children"),),
        outputs=(OutputContract("poster", "poster.txt", "text"),),
    )
    return paint, mix, album, poster


class Paint(Stage[ViewParams]):
    """Writes the numbered frames of one view, and a folder of notes."""

    def process(self, sample: Sample, inputs: StageInputs[ViewParams]) -> StageResult:
        RAN.append(("paint", sample.id))
        params = inputs.params
        if params.bad in sample.id:
            raise SampleError("Smudged", "try again")
        frames = []
        for number in range(params.frames):
            frames.append(inputs.workspace / f"frame-{number}")
            text = f"{inputs.source.read_text()} {sample.attributes['view']} {number} in {params.ink}"
            frames[-1].write_text(text + sample.attributes.get("prompt", ""))
        notes = inputs.workspace / "notes"
        (notes / "deep").mkdir(parents=True)
        for number in range(params.frames + 1):
            (notes / "deep" / f"{number}.txt").write_text(f"note {number}")
        return StageResult({"frames": frames, "notes": notes})


class Mix(Stage[ViewParams]):
    """Lists the frames of all siblings and what lies in the folder of notes."""

    def process(self, sample: Sample, inputs: StageInputs[ViewParams]) -> StageResult:
        RAN.append(("mix", sample.id))
        lines = [
            f"{member.sample.id}: {path.name}: {path.read_text()}"
            for member in inputs.members("paint")
            for path in _paths(member.files["frames"])
        ]
        folder = inputs.path("paint", "notes")
        lines += sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.txt"))
        return _text(inputs, mixture="\n".join(lines))


class Album(Stage[ViewParams]):
    """Names the views that are there, the cover that was chosen, and the photograph."""

    def process(self, sample: Sample, inputs: StageInputs[ViewParams]) -> StageResult:
        RAN.append(("album", sample.id))
        hidden = {name for one in (sample, *(each.sample for each in inputs.members("mix"))) for name in one.attributes}
        assert not hidden, f"not declared: {hidden}"
        names = " ".join(member.sample.id for member in inputs.members("mix"))
        cover = f" cover {inputs.answer['cover']}" if inputs.answer else ""
        return _text(inputs, album=f"{inputs.source.read_text()}: {names}{cover}")


class Poster(Stage[ViewParams]):
    """Shows all albums."""

    def process(self, sample: Sample, inputs: StageInputs[ViewParams]) -> StageResult:
        RAN.append(("poster", sample.id))
        return _text(inputs, poster=" | ".join(member.sample.id for member in inputs.members("album")))


def _paths(local: Any) -> Any:
    return local if isinstance(local, tuple) else (local,)


def _text(inputs: StageInputs[ViewParams], **outputs: str) -> StageResult:
    for name, text in outputs.items():
        (inputs.workspace / name).write_text(text)
    return StageResult({name: inputs.workspace / name for name in outputs})


PIPELINE = Pipeline(
    name="views",
    kind="DatasetJob",
    params=ViewParams,
    stages=stages,
    input=InputKind(suffixes=(".txt",), listings=True, entry=Entry),
    entry_parameters=("frames", "bad"),
)
