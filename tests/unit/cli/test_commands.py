"""Commands that need no stage process: messages, exit codes, machine-readable output."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes.aio import config
from typer.testing import CliRunner, Result

from scenewright.cli.main import app
from scenewright.execution.events import Outcome
from scenewright.execution.local import LocalRun
from scenewright_stages.backends.runtime.cache.weights import CACHE_VARIABLE

EXAMPLES = Path(__file__).parents[3] / "examples"
MANIFEST = """
apiVersion: scenewright.io/v1alpha1
kind: SceneJob
metadata: {name: a}
spec:
  input: {uri: ./in}
  output: {uri: ./out}
  vistadream: {mode: coarse}
"""


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "job.yaml"
    path.write_text(MANIFEST)
    return path


@pytest.mark.parametrize("name", ["scenejob-vistadream.yaml", "scenejob-motorcycle.yaml"])
def test_the_examples_are_valid_and_need_no_licence(name: str) -> None:
    result = invoke("validate", EXAMPLES / name)
    assert result.exit_code == 0, result.output
    assert "outpaint, depth, initialize, coarse, render" in result.stdout


def test_the_list_of_commands_shows_a_whole_sentence_for_each() -> None:
    listed = invoke("--help").stdout.partition("Commands:")[2]
    assert "Run manifests or photographs on this machine." in listed
    assert "..." not in listed


def test_a_missing_kubeconfig_is_one_line_with_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    result = invoke("status")
    assert result.exit_code == 10
    assert result.output.count("\n") == 1
    assert result.stderr.endswith("no usable credentials (no such file); set KUBECONFIG or give --context\n")


def test_of_several_files_the_message_names_each_wrong_one(manifest: Path) -> None:
    wrong, values = manifest.with_name("wrong.yaml"), manifest.with_name("values.yaml")
    wrong.write_text(MANIFEST.replace("SceneJob", "SceneJobs"))
    values.write_text("replicas: 1")
    result = invoke("validate", manifest, wrong, values)
    assert result.exit_code == 10
    assert f"error: {wrong}: kind: 'SceneJobs': must be one of" in result.stderr
    assert f"error: {values}: kind: must be one of" in result.stderr
    assert str(manifest) not in result.stderr
    assert "wrong.yaml" not in invoke("validate", wrong).stderr


def test_validate_tells_programs_what_is_wrong(manifest: Path) -> None:
    result = invoke("validate", manifest, "--set", "coarse.frames=0", "-o", "json")
    assert result.exit_code == 10
    problems = json.loads(result.stdout)["problems"]
    assert problems == [{"field": "spec.vistadream.coarse.frames", "value": 0, "remedy": "must be >= 1"}]


@pytest.mark.parametrize(
    ("changes", "field", "value", "remedy"),
    [
        (["depth.backend=dpt"], "spec.vistadream.depth.backend", "dpt", "allowed: classic"),
        (["coarse.inpaint.backend=lama"], "spec.vistadream.coarse.inpaint.backend", "lama", "allowed"),
        (["depth.backend=depth-pro"], "spec.models.acceptLicenses", "[]", "apple-amlr"),
        (
            ["mode=outpaint", "outpaint.backend=flux-fill"],
            "spec.models.acceptLicenses",
            "[]",
            "flux-1-dev-non-commercial",
        ),
        (
            ["trajectory.motionPreset=small", "trajectory.forwardRatio=0.5"],
            "spec.vistadream.trajectory",
            "small",
            "give either",
        ),
        (
            ["coarse.minInpaintRatio=0.5", "coarse.maxInpaintRatio=0.2"],
            "spec.vistadream.coarse",
            "0.5",
            "must not exceed",
        ),
    ],
)
def test_a_run_of_what_cannot_be_done_is_refused_with_field_value_and_remedy(
    manifest: Path, changes: list[str], field: str, value: str, remedy: str
) -> None:
    (manifest.parent / "in").mkdir()
    result = invoke("run", manifest, *(word for change in changes for word in ("--set", change)), "-o", "json")
    assert result.exit_code == 10
    (problem,) = json.loads(result.stdout)["problems"]
    assert problem["field"].startswith(field)
    assert value in str(problem.get("value")) + problem["remedy"]
    assert remedy in problem["remedy"]
    assert not (manifest.parent / "out").exists()


CHAIN = ("outpaint", "depth", "initialize", "coarse", "render")


@pytest.mark.parametrize(("output", "is_told"), [("s3://scenes/a", True), ("./out", False)])
def test_a_plan_that_may_be_for_a_cluster_says_that_it_cannot_see_the_lab_s_defaults(
    manifest: Path, monkeypatch: pytest.MonkeyPatch, output: str, is_told: bool
) -> None:
    found = {"samples": 1, "rejected": [], "warnings": [], "stages": []}
    monkeypatch.setattr(LocalRun, "plan_only", lambda _: (Outcome(0, "", ""), found))
    told = invoke("plan", manifest, "--output", output)
    assert told.exit_code == 0, told.output
    assert ("defaults of a lab, which this machine cannot see" in told.stdout) is is_told
    (job,) = json.loads(invoke("plan", manifest, "--output", output, "-o", "json").stdout)["jobs"]
    assert len(job["notes"]) == int(is_told)


def test_a_plan_forecasts_what_a_cluster_will_take(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {"done": 0, "failed": 0, "shards": 1, "reasons": {}}
    stages = [{**counts, "name": name, "todo": 720 if name == "coarse" else 0} for name in CHAIN]
    found = {"samples": 720, "rejected": [], "warnings": [], "stages": stages}
    monkeypatch.setattr(LocalRun, "plan_only", lambda _: (Outcome(0, "", ""), found))
    gpu = "execution.stageOverrides.coarse.resources.limits={nvidia.com/gpu: 2}"
    changes = ("--set", gpu, "--set", "execution.budget.gpuHours=30", "--set", "coarse.frames=10")
    (job,) = json.loads(invoke("plan", manifest, *changes, "-o", "json").stdout)["jobs"]
    assert job["forecast"] == {"gpuHours": 720 * 250 * 2 / 3600, "wallSeconds": 720 * 250}
    assert "about 100 GPU hours; the budget allows 30" in invoke("plan", manifest, *changes).stdout


@pytest.mark.parametrize(("todo", "is_told"), [(2, True), (0, False)])
def test_a_plan_says_which_weights_stages_with_work_lack_on_this_machine(
    manifest: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, todo: int, is_told: bool
) -> None:
    names = ("depth", "coarse", "render")
    stages = [
        {"name": name, "todo": todo, "done": 0, "failed": 0, "shards": 1, "reasons": {}} for name in names
    ]  # fmt: skip
    found = {"samples": 1, "rejected": [], "warnings": [], "stages": stages}
    monkeypatch.setattr(LocalRun, "plan_only", lambda _: (Outcome(0, "", ""), found))
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    model = "depth-anything/Depth-Anything-V2-Small-hf"
    asked = ("plan", manifest, "--set", "depth.backend=depth-anything", "--output", "./out", "-o", "json")
    (job,) = json.loads(invoke(*asked).stdout)["jobs"]
    expected = (
        f"it cannot run on this machine yet: model cache: '{tmp_path / 'cache'}': lacks config.json, *.safetensors of "
        f"{model} (revision main); fetch them (`scenewright models --fetch {model}`) or copy the repository to a "
        "folder of that name; stages depth and coarse need it"
    )
    assert job["notes"] == ([expected] if is_told else [])
    folder = tmp_path / "cache" / model
    folder.mkdir(parents=True)
    for name in ("config.json", "preprocessor_config.json", "model.safetensors"):
        (folder / name).write_text("{}")
    (job,) = json.loads(invoke(*asked).stdout)["jobs"]
    assert job["notes"] == []
    (job,) = json.loads(invoke("plan", manifest, "--output", "./out", "-o", "json").stdout)["jobs"]
    assert job["notes"] == []


@pytest.mark.parametrize(
    ("place", "remedy"),
    [
        ("s3://mirror/sam", "the model cache lacks sam2.1_hiera_large.pt of it"),
        ("file:///nowhere/sam", "lacks sam2.1_hiera_large.pt; it has to hold the same files as"),
    ],
)
def test_a_plan_says_what_weights_at_a_place_of_one_s_own_lack(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str, remedy: str
) -> None:
    """On one machine no step copies weights out of an object store, so those are told too."""
    stage = {"name": "white", "todo": 1, "done": 0, "failed": 0, "shards": 1, "reasons": {}}
    found = {"samples": 1, "rejected": [], "warnings": [], "stages": [stage]}
    monkeypatch.setattr(LocalRun, "plan_only", lambda _: (Outcome(0, "", ""), found))
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    changes = ("--set", "white.backend=sam2", "--set", f"white.revision={place}", "--output", tmp_path / "out")
    (job,) = json.loads(invoke("plan", EXAMPLES / "datasetjob-coffee.yaml", *changes, "-o", "json").stdout)["jobs"]
    (note,) = job["notes"]
    assert note.startswith(f"it cannot run on this machine yet: revision: '{place.removeprefix('file://')}': {remedy}")
    assert note.endswith("; stage white needs it")


@pytest.mark.parametrize("command", ["run", "retry", "validate", "plan"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", "coarse.frames=0"], "error: spec.vistadream.coarse.frames: 0: must be >= 1"),
        (["--set", "coarse.frame=5"], "did you mean 'frames'?"),
        (["--set", "depth.backend=dpt"], "error: spec.vistadream.depth.backend: 'dpt': allowed: classic"),
        (["--set", "depth.backend=depth-pro"], "add 'apple-amlr' to this field"),
        (
            ["--set", "trajectory.motionPreset=small", "--set", "trajectory.forwardRatio=1"],
            "error: spec.vistadream.trajectory.motionPreset: 'small': contradicts forwardRatio",
        ),
        (["--only", "paint"], "error: spec.execution.stages.only[0]: 'paint': no such stage"),
        (["--only", "depth", "--start-from", "depth"], "contradicts startFrom"),
        (["--output", "./in/deeper"], "must not be the input nor lie inside it"),
        (["--input", "http://host/x"], "error: spec.input.uri: 'http://host/x': must be s3://bucket/prefix"),
    ],
)
def test_refusals_name_field_value_and_remedy_and_touch_nothing(
    manifest: Path, monkeypatch: pytest.MonkeyPatch, command: str, options: list[str], message: str
) -> None:
    monkeypatch.chdir(manifest.parent)
    before = sorted(manifest.parent.iterdir())
    result = invoke(command, manifest, *options)
    assert result.exit_code == 10
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert sorted(manifest.parent.iterdir()) == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"\xff\xd8\xff\xe0", "is not text"),
        (b"a: [", "not valid YAML"),
        (b"kind: Pod", "must be one of SceneJob, DatasetJob, TuningRun"),
        (b"kind: SceneJob", "spec: is required"),
    ],
)
def test_files_that_are_no_manifest_are_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "job.yaml"
    if content is not None:
        path.write_bytes(content)
    result = invoke("validate", path)
    assert result.exit_code == 10
    assert message in result.stderr


@pytest.mark.parametrize("output", ["./out", "./out/", "./out/deeper"])
def test_two_objects_must_not_share_an_output(tmp_path: Path, output: str) -> None:
    path = tmp_path / "jobs.yaml"
    path.write_text(f"{MANIFEST}---{MANIFEST.replace('name: a', 'name: b').replace('./out', output)}")
    result = invoke("validate", path)
    assert result.exit_code == 10
    assert "b: spec.output.uri" in result.stderr
    assert "overlaps the output of a" in result.stderr


def test_paths_of_the_manifest_count_from_its_folder_and_options_from_the_current_one(
    manifest: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from scenewright.cli.manifests import Changes, load_plans

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    (plan,) = load_plans([manifest], Changes(output_uri="results"))
    assert plan.spec.input.uri == (tmp_path / "in").as_uri()
    assert plan.spec.output.uri == (elsewhere / "results").as_uri()


def test_models_lists_every_backend_with_licence_and_presence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCENEWRIGHT_MODEL_CACHE", str(tmp_path))
    content: dict[str, Any] = json.loads(invoke("models", "-o", "json").stdout)
    rows = {(row["capability"], row["backend"]): row for row in content["backends"]}
    assert content["cache"] == str(tmp_path)
    assert rows["depth", "classic"]["state"] == "built in"
    flux = rows["outpaint", "flux-fill"]
    assert (flux["licence"], flux["mustBeAccepted"], flux["state"]) == ("flux-1-dev-non-commercial", True, "missing")
    assert "flux-1-dev-non-commercial *" in invoke("models").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["black-forest-labs/FLUX.1-Fill-dev"], "--accept flux-1-dev-non-commercial"),
        (["apple/DepthPro"], "did you mean 'apple/DepthPro-hf'?"),
    ],
)
def test_weights_are_fetched_only_with_an_accepted_licence(arguments: list[str], message: str) -> None:
    result = invoke("models", "--fetch", *arguments)
    assert result.exit_code == 10
    assert message in result.stderr


def test_a_download_that_fails_or_lacks_files_ends_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    def unreachable(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setenv("SCENEWRIGHT_MODEL_CACHE", str(tmp_path))
    for download, message in ((unreachable, "no route to host"), (lambda *_, **__: None, "Intel/dpt-hybrid-midas")):
        monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
        result = invoke("models", "--fetch", "Intel/dpt-hybrid-midas")
        assert result.exit_code == 1
        assert "the download failed" in result.stderr
        assert message in result.stderr


def test_crds_are_written_and_checked(tmp_path: Path) -> None:
    folder = tmp_path / "crds"
    assert invoke("crds", "--output", folder, "--check").exit_code == 1
    assert invoke("crds", "--output", folder).exit_code == 0
    assert invoke("crds", "--output", folder, "--check").exit_code == 0
    assert len(list(folder.iterdir())) == 3


def test_report_of_nothing_is_refused(tmp_path: Path) -> None:
    result = invoke("report", tmp_path)
    assert result.exit_code == 10
    assert "holds no published results" in result.stderr


@pytest.mark.parametrize("command", ["export", "mask"])
def test_tools_of_the_data_plane_read_their_options_themselves(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []

    def run(arguments: list[str], check: bool) -> SimpleNamespace:
        calls.append(arguments)
        return SimpleNamespace(returncode=3)

    monkeypatch.setattr("scenewright.cli.main.subprocess.run", run)
    given = ["--help", "--to=ply", "-o", "json", "--point", "1,2", "results"]
    assert CliRunner().invoke(app, [command, *given]).exit_code == 3
    ((_, _, module, *passed),) = calls
    assert passed == given and importlib.util.find_spec(module) is not None
