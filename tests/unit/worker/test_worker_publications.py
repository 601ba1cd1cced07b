"""Publications as inputs: what their hash covers, what stages see of them, and which files others may refer to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from toy_steps import Job

from scenewright_stages.contract.errors import ConfigurationError, SampleError, ShardError
from scenewright_stages.contract.inputs import InputKind, InputView, Listed
from scenewright_stages.contract.outputs import OutputContract
from scenewright_stages.contract.params import Params
from scenewright_stages.contract.pipeline import INPUT, Pipeline, Read, StageSpec
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import Catalogue, Dated, Stage, StageInputs, StageResult
from scenewright_stages.contract.task import TaskNamedInput
from scenewright_stages.store import hash_bytes
from scenewright_stages.worker.publications import Resolved, fetch_named, publication_hash, resolve

FILES: dict[str, dict[str, Any]] = {
    "a.png": {"size": 1, "hash": "a"},
    "train/b.png": {"size": 1, "hash": "b"},
    ".scenewright/work/c.npz": {"size": 1, "hash": "c", "intermediate": True},
    "report.html": {"size": 1, "hash": "r", "volatile": True},
}


@pytest.mark.parametrize(
    ("path", "counts"),
    [("a.png", True), ("train/b.png", True), (".scenewright/work/c.npz", False), ("report.html", False)],
)
def test_the_hash_of_a_publication_covers_its_results_and_neither_pages_nor_intermediates(
    path: str, counts: bool
) -> None:
    changed = {**FILES, path: {**FILES[path], "hash": "other", "size": 2}}
    assert (publication_hash(changed) != publication_hash(FILES)) == counts
    assert publication_hash(dict(reversed(FILES.items()))) == publication_hash(FILES)
    without = {name: entry for name, entry in FILES.items() if name != path}
    assert (publication_hash(without) != publication_hash(FILES)) == counts


def published(folder: Path, contents: Mapping[str, str] = {"a.png": "a", "train/b.png": "b"}) -> TaskNamedInput:
    """A publication with these results, beside files that do not belong to it."""
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in {**contents, "stale.png": "?", ".scenewright/work/c.npz": "c"}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    files: dict[str, Any] = {path: {"size": 1, "hash": hash_bytes(text.encode())} for path, text in contents.items()}
    files[".scenewright/work/c.npz"] = {"size": 1, "hash": "c", "intermediate": True}
    (folder / ".scenewright" / "published.json").write_text(json.dumps({"files": files}))
    return TaskNamedInput(uri=str(folder), field="spec.dataset.uri")


def seen(wanted: TaskNamedInput, folder: Path) -> dict[str, str]:
    """What a stage sees of a named input."""
    place = fetch_named(wanted, resolve("dataset", wanted), folder)
    if place.is_file():
        return {"": place.read_text()}
    return {path.relative_to(place).as_posix(): path.read_text() for path in place.rglob("*") if path.is_file()}


def test_a_stage_sees_the_results_of_a_publication_and_nothing_else_that_lies_there(tmp_path: Path) -> None:
    wanted = published(tmp_path / "set")
    assert seen(wanted, tmp_path / "copy") == {"a.png": "a", "train/b.png": "b"}
    some = wanted.model_copy(update={"include": ["train/*"]})
    assert seen(some, tmp_path / "some") == {"train/b.png": "b"}
    one = wanted.model_copy(update={"path": "a.png"})
    assert seen(one, tmp_path / "one") == {"": "a"}


def test_a_prefix_that_nobody_published_and_a_single_file_are_inputs_too(tmp_path: Path) -> None:
    (tmp_path / "set" / "train").mkdir(parents=True)
    (tmp_path / "set" / "train" / "b.png").write_text("b")
    (tmp_path / "set" / "a.txt").write_text("a")
    folder = TaskNamedInput(uri=str(tmp_path / "set"), include=["*.png"])
    assert seen(folder, tmp_path / "copy") == {"train/b.png": "b"}
    before = resolve("set", folder).hash
    (tmp_path / "set" / "a.txt").write_text("other")
    assert resolve("set", folder).hash == before, "it is not among the files that stages see"
    (tmp_path / "set" / "train" / "b.png").write_text("other")
    assert resolve("set", folder).hash != before
    assert seen(TaskNamedInput(uri=str(tmp_path / "set" / "a.txt")), tmp_path / "one") == {"": "other"}


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"uri": "/nowhere/at/all"}, "nothing is there"),
        ({"path": "c.png"}, "nothing is there"),
        ({"path": ".scenewright/work/c.npz"}, "nothing is there"),
        ({"hash": "another"}, "it changed after this run was started"),
    ],
)
def test_an_input_that_is_not_what_the_run_was_started_with_is_refused(
    tmp_path: Path, changes: dict[str, str], remedy: str
) -> None:
    wanted = published(tmp_path / "set").model_copy(update=changes)
    with pytest.raises(ConfigurationError, match=remedy) as refused:
        resolve("dataset", wanted)
    assert refused.value.field == "spec.dataset.uri"


def test_a_file_that_changes_between_its_hash_and_its_reading_fails_the_sample(tmp_path: Path) -> None:
    wanted = published(tmp_path / "set")
    resolved = resolve("dataset", wanted)
    (tmp_path / "set" / "a.png").write_text("other")
    with pytest.raises(SampleError, match=r"a\.png changed after it was indexed"):
        fetch_named(wanted, resolved, tmp_path / "copy")
    (tmp_path / "set" / "a.png").unlink()
    with pytest.raises(SampleError, match=r"a\.png is gone"):
        fetch_named(wanted, Resolved(resolved.hash, {"a.png": "x"}), tmp_path / "again")


class Fitting(Stage[Params]):
    """Writes the sample's text and the names of all files of the named input."""

    def process(self, sample: Sample, inputs: StageInputs[Params]) -> StageResult:
        folder = inputs.named["pairs"]
        names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
        (inputs.workspace / "model").write_text(f"{inputs.source.read_text()} of {' '.join(names)}")
        return StageResult({"model": inputs.workspace / "model"})


FIT = StageSpec(
    "fit",
    1,
    f"{__name__}:Fitting",
    (Read(INPUT),),
    (OutputContract("model", "models/{sample}.txt", "text"),),
    inputs=("pairs",),
)


def best(catalogue: Catalogue) -> dict[str, str]:
    return {"best": f"models/{catalogue.entries[-1].sample.id}.txt"}


def not_there(catalogue: Catalogue) -> dict[str, str]:
    return {"best": "models/nothing.txt"}


def index_files(catalogue: Catalogue) -> dict[str, bytes]:
    """Reads a published file, and names what was dropped."""
    text = catalogue.read(f"models/{catalogue.entries[0].sample.id}.txt").decode()
    return {"index.txt": f"{text}; dropped: {[(each.sample.id, each.reason) for each in catalogue.dropped]}".encode()}


def fitting(folder: Path, **fields: Any) -> Job:
    pipeline = Pipeline("fit", "DatasetJob", Params, lambda _: (FIT,), InputKind((".txt",)), **fields)
    job = Job(folder / "job", pipeline, inputs={"pairs": published(folder / "set")})
    for name in "xy":
        (job.source / f"{name}.txt").write_text(name)
    return job


def test_a_named_input_that_changes_runs_its_samples_again(tmp_path: Path) -> None:
    job = fitting(tmp_path)
    job.all_steps()
    assert job.results()["models/x.txt"] == "x of a.png train/b.png"
    job.new_run()
    job.index()
    assert job.todo("fit") == {}
    published(tmp_path / "set", {"a.png": "a", "c.png": "c"})
    job.all_steps()
    assert job.results()["models/y.txt"] == "y of a.png c.png"


def test_a_named_input_that_changes_after_the_index_ends_the_stage(tmp_path: Path) -> None:
    """Else records would name the hash that the index found and hold what came later."""
    job = fitting(tmp_path)
    job.index()
    published(tmp_path / "set", {"a.png": "other"})
    with pytest.raises(ConfigurationError, match="changed after this run was started"):
        job.stage("fit")
    assert not any(record.state == "done" for record in job.records("fit"))


def test_a_publication_names_its_hash_and_the_files_that_others_may_refer_to(tmp_path: Path) -> None:
    job = fitting(tmp_path, chosen=f"{__name__}:best", catalogue=f"{__name__}:index_files")
    report = job.all_steps()
    content = job.published()
    assert report.publication == content["hash"] == publication_hash(content["files"])
    entry = content["files"]["models/y.txt"]
    assert report.chosen == content["chosen"] == {"best": f"models/y.txt@{entry['hash']}"}
    assert job.results()["index.txt"] == "x of a.png train/b.png; dropped: []"
    chosen = TaskNamedInput(uri=str(job.output), path="models/y.txt", hash=entry["hash"])
    assert resolve("best", chosen) == Resolved(entry["hash"], {"models/y.txt": entry["hash"]}, True)
    assert job.all_steps().publication == report.publication
    (job.source / "x.txt").write_text("other")
    assert job.all_steps().publication != report.publication


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"chosen": f"{__name__}:not_there"}, "'models/nothing.txt', which is not published"),
        ({"catalogue": f"{__name__}:hidden"}, "which is not a path for an index file"),
        ({"catalogue": f"{__name__}:foreign", "hosts": ("other/",)}, "which is not a path for an index file"),
        ({"catalogue": f"{__name__}:taken"}, "which is not a path for an index file"),
    ],
)
def test_a_pipelines_function_may_not_name_what_is_not_its_own(
    tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ShardError, match=message):
        fitting(tmp_path, **fields).all_steps()


def hidden(catalogue: Catalogue) -> dict[str, bytes]:
    return {".scenewright/published.json": b""}


def foreign(catalogue: Catalogue) -> dict[str, bytes]:
    return {"other/index.txt": b""}


def taken(catalogue: Catalogue) -> dict[str, bytes]:
    return {"models/x.txt": b""}


def dated_index(catalogue: Catalogue) -> dict[str, bytes | Dated]:
    assert catalogue.at > 0 and catalogue.seconds > 0
    return {f"index_{catalogue.at}.txt": Dated(f"{catalogue.seconds}".encode())}


def test_an_index_file_with_times_leaves_the_publication_as_it_is(tmp_path: Path) -> None:
    job = fitting(tmp_path, catalogue=f"{__name__}:dated_index")
    reports = [job.all_steps(), job.all_steps()]
    assert reports[0].publication == reports[1].publication
    # The one of the publication before is gone.
    (name,) = (path for path in job.published()["files"] if path.startswith("index_"))
    assert [path.name for path in job.output.glob("index_*")] == [name]
    assert job.published()["files"][name]["volatile"] is True


def test_folders_that_host_other_objects_are_neither_input_nor_deleted(tmp_path: Path) -> None:
    job = fitting(tmp_path, hosts=("other/",))
    job.all_steps()
    (job.output / "other").mkdir()
    (job.output / "other" / "theirs.txt").write_text("theirs")
    (job.source / "other").mkdir()
    (job.source / "other" / "z.txt").write_text("z")
    job.all_steps()
    assert (job.output / "other" / "theirs.txt").exists()
    assert list(job.samples()) == ["x", "y"]


class Copying(Stage[Params]):
    """Adds its name to what it reads."""

    def process(self, sample: Sample, inputs: StageInputs[Params]) -> StageResult:
        name = self.context.stage.name
        source = inputs.source if name == "first" else inputs.path("first", "text")
        (inputs.workspace / "t").write_text(f"{source.read_text()} {name}")
        return StageResult({"text": inputs.workspace / "t"})


def with_given(view: InputView) -> list[Listed]:
    """Samples of the folder; a file of the name ``x.first.txt`` is the first stage's output of ``x``."""
    return [
        Listed(
            key.removesuffix(".txt"),
            {"source": key},
            provided={"first": {"text": given}} if (given := key.replace(".txt", ".first.txt")) in view.keys else {},
        )
        for key in view.keys
        if not key.endswith(".first.txt")
    ]


def copying(name: str, *reads: str) -> StageSpec:
    output = OutputContract("text", f"{name}/{{sample}}.txt", "text")
    return StageSpec(name, 1, f"{__name__}:Copying", tuple(Read(read) for read in reads), (output,))


@pytest.fixture
def providing(tmp_path: Path) -> Job:
    """A job of two stages, of which the input brings the first one's output for one sample."""
    chain = (copying("first", INPUT), copying("second", "first"))
    job = Job(tmp_path, Pipeline("given", "SceneJob", Params, lambda _: chain, InputKind(lister=with_given)))
    for name, text in (("x", "x"), ("x.first", "given"), ("y", "y")):
        (job.source / f"{name}.txt").write_text(text)
    return job


def test_outputs_that_come_with_the_input_are_read_and_not_made(providing: Job) -> None:
    report = providing.all_steps()
    results = providing.results()
    assert results["second/x.txt"] == "given second" and results["second/y.txt"] == "y first second"
    assert "first/x.txt" not in results and report.stages["first"].done == 2
    assert {record.sample for record in providing.records("first")} == {"y"}
    rows = {row["id"]: row for row in map(json.loads, results["manifest.jsonl"].splitlines())}
    assert set(rows["x"]["files"]) == {"second/text"}, "what lies in the input is no file of the publication"
    assert set(rows["y"]["files"]) == {"first/text", "second/text"}
    assert str(providing.folder) not in results["manifest.jsonl"]


def test_a_given_output_that_changes_runs_what_reads_it(providing: Job) -> None:
    providing.all_steps()
    (providing.source / "x.first.txt").write_text("other")
    providing.new_run()
    providing.index()
    assert (providing.todo("first"), providing.todo("second")) == ({}, {"x": "upstream changed"})
    (providing.source / "x.first.txt").unlink()
    providing.all_steps()
    assert providing.results()["second/x.txt"] == "x first second"


def test_a_given_output_that_is_not_there_costs_its_sample(providing: Job) -> None:
    def lister(view: InputView) -> list[Listed]:
        return [
            Listed(name, {"source": "y.txt"}, provided={"first": {"text": "gone.txt"}} if name == "b" else {})
            for name in "ab"
        ]

    chain = providing.pipeline.stages(Params())
    providing.pipeline = Pipeline("given", "SceneJob", Params, lambda _: chain, InputKind(lister=lister))
    report = providing.index()
    assert [(each.sample, each.reason) for each in report.failures] == [("b", "InputMissing")]
    assert providing.todo("first").keys() == {"a"}
