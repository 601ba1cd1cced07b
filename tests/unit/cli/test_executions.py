"""``--execution``: which dated folder below the output a run works in."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scenewright.cli.executions import execution_uri
from scenewright.cli.main import app
from scenewright.planning.problems import SpecError
from scenewright_stages.contract import layout


def begun(folder: Path, name: str, at: float) -> Path:
    """An execution that was last touched at a time."""
    root = folder / name / layout.ROOT
    root.mkdir(parents=True)
    (folder / name / layout.JOB).write_text("{}")
    for each in (folder / name / layout.JOB, root, folder / name):
        os.utime(each, (at, at))
    return folder / name


def test_a_new_one_is_named_by_its_time_and_two_in_a_second_differ(tmp_path: Path) -> None:
    first = execution_uri(tmp_path.as_uri(), "new", now=1_000_000_000.0)
    name = first.rpartition("/")[2]
    assert re.fullmatch(r"\d{8}_\d{6}", name)
    begun(tmp_path, name, 1.0)
    second = execution_uri(f"{tmp_path.as_uri()}/", "new", now=1_000_000_000.0)
    assert second.rpartition("/")[2] > name
    assert second.rpartition("/")[0] == tmp_path.as_uri()


def test_last_is_the_one_that_was_modified_last_whatever_its_name(tmp_path: Path) -> None:
    begun(tmp_path, "20250610_143022", 3000.0)
    begun(tmp_path, "20250711_143022", 2000.0)
    (tmp_path / "notes").mkdir()
    assert execution_uri(tmp_path.as_uri(), "last").endswith("/20250610_143022")
    os.utime(tmp_path / "20250711_143022" / layout.JOB, (4000.0, 4000.0))
    assert execution_uri(tmp_path.as_uri(), "last").endswith("/20250711_143022")


def test_a_name_has_to_be_there(tmp_path: Path) -> None:
    begun(tmp_path, "20250610_143022", 1.0)
    begun(tmp_path, "mine", 2.0)
    assert execution_uri(tmp_path.as_uri(), "mine").endswith("/mine")
    for wanted in ("20250610_143023", "..", "notes", "mine/x"):
        with pytest.raises(SpecError, match="20250610_143022, mine"):
            execution_uri(tmp_path.as_uri(), wanted)


@pytest.mark.parametrize("wanted", ["last", "20250610_143022"])
def test_without_any_execution_nothing_matches(tmp_path: Path, wanted: str) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(SpecError, match="begin with --execution new"):
            execution_uri(folder.as_uri(), wanted)


def test_executions_are_folders_of_a_disk() -> None:
    with pytest.raises(SpecError, match="needs a local output"):
        execution_uri("s3://bucket/x", "new")


def test_the_command_refuses_what_is_not_there(tmp_path: Path) -> None:
    manifest = tmp_path / "job.yaml"
    manifest.write_text(
        "{apiVersion: scenewright.io/v1alpha1, kind: SceneJob, metadata: {name: a}, "
        "spec: {input: {uri: ./in}, output: {uri: ./out}, vistadream: {mode: coarse}}}"
    )
    for command in ("run", "retry", "plan"):
        result = CliRunner().invoke(app, [command, str(manifest), "--execution", "last"])
        assert result.exit_code == 10
        assert "error: --execution: 'last':" in result.output + result.stderr
