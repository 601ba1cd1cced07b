"""Intermediates that a pipeline offers: jobs with the publication as a named input see them, nobody else's."""

from __future__ import annotations

import json
from pathlib import Path

from toy_steps import Job

from scenewright_stages.contract.inputs import InputKind
from scenewright_stages.contract.outputs import OutputContract
from scenewright_stages.contract.params import Params
from scenewright_stages.contract.pipeline import INPUT, Pipeline, Read, StageSpec
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import Stage, StageInputs, StageResult
from scenewright_stages.contract.task import TaskNamedInput
from scenewright_stages.store import hash_bytes
from scenewright_stages.worker.publications import fetch_named, publication_hash, resolve


def published(folder: Path, entries: dict[str, dict[str, bool]]) -> TaskNamedInput:
    files = {}
    for path, kind in entries.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(path)
        files[path] = {"size": len(path), "hash": hash_bytes(path.encode()), **kind}
    (folder / ".scenewright" / "published.json").write_text(json.dumps({"files": files}))
    return TaskNamedInput(uri=str(folder), field="spec.dataset.uri")


ENTRIES = {
    "a.png": {},
    ".scenewright/work/a.npz": {"intermediate": True, "offered": True},
    ".scenewright/work/b.npz": {"intermediate": True},
}


def test_offered_intermediates_are_seen_and_others_are_not(tmp_path: Path) -> None:
    wanted = published(tmp_path / "set", ENTRIES)
    place = fetch_named(wanted, resolve("dataset", wanted), tmp_path / "copy")
    seen = {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}
    assert seen == {"a.png", ".scenewright/work/a.npz"}


def test_they_are_no_part_of_the_publications_hash() -> None:
    files = {path: {"size": 1, "hash": path, **kind} for path, kind in ENTRIES.items()}
    without = {path: entry for path, entry in files.items() if "offered" not in entry}
    assert publication_hash(files) == publication_hash(without)


class Copies(Stage[Params]):
    """Copies its input to a result, and to two intermediates."""

    def process(self, sample: Sample, inputs: StageInputs[Params]) -> StageResult:
        made = {}
        for name in ("result", "shared", "hidden"):
            made[name] = inputs.workspace / name
            made[name].write_text(f"{inputs.source.read_text()} {name}")
        return StageResult(made)


STAGE = StageSpec(
    "copies",
    1,
    f"{__name__}:Copies",
    (Read(INPUT),),
    (
        OutputContract("result", "{sample}.out", "text"),
        OutputContract("shared", ".scenewright/work/{sample}/shared", "text", result=False, offered=True),
        OutputContract("hidden", ".scenewright/work/{sample}/hidden", "text", result=False),
    ),
)


def test_publish_marks_what_a_stage_offers(tmp_path: Path) -> None:
    job = Job(tmp_path, Pipeline("copies", "DatasetJob", Params, lambda _: (STAGE,), InputKind((".txt",))))
    (job.source / "x.txt").write_text("x")
    job.all_steps()
    wanted = TaskNamedInput(uri=str(job.output), include=["*.out"])
    place = fetch_named(wanted, resolve("dataset", wanted), tmp_path / "copy")
    seen = {path.relative_to(place).as_posix(): path.read_text() for path in place.rglob("*") if path.is_file()}
    assert seen == {"x.out": "x result", ".scenewright/work/x/shared": "x shared"}
