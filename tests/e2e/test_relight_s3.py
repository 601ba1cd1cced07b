"""A data set on a real S3 server, from a list there; in the soak also: the bytes of a local run, and nothing twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from portraits import write_portraits
from relight_jobs import MASKED, STAGES, write_job
from scene_jobs import lasting_files, lasting_hash, lasting_paths, scenewright

from scenewright_stages.contract import layout
from scenewright_stages.store import Store, open_store

pytestmark = pytest.mark.slow

BLOCK: dict[str, Any] = {**MASKED, "variants": 2}


def write_list(folder: Path) -> Path:
    """Three portraits, their masks and a list of them."""
    write_portraits(folder, 3, side=64)
    rows = [{"uri": f"p{number:05d}.png", "mask": f"p{number:05d}.mask.png", "age": number} for number in range(3)]
    (folder / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder / "list.jsonl"


def write_remote_job(folder: Path, source: Path, bucket: str) -> Path:
    """A job of the same list in a bucket, which gets the results."""
    store = open_store(f"s3://{bucket}/faces")
    for path in source.iterdir():
        store.put_bytes(path.name, path.read_bytes())
    return write_job(folder / "s3.json", f"s3://{bucket}/faces/list.jsonl", f"s3://{bucket}/results", BLOCK)


def published(results: Store) -> dict[str, dict[str, Any]]:
    """What the last publish names, by path."""
    files: dict[str, dict[str, Any]] = json.loads(results.get_bytes(layout.PUBLISHED))["files"]
    return files


def test_a_list_on_s3_becomes_a_data_set_there(tmp_path: Path, s3_bucket: str) -> None:
    write_list(tmp_path / "in")
    ended = scenewright("run", write_remote_job(tmp_path, tmp_path / "in", s3_bucket))
    assert ended.code == 0, ended.stderr
    results = open_store(f"s3://{s3_bucket}/results")
    assert {f"outputs/p{number:05d}_v{light}_output.png" for number in range(3) for light in range(2)} <= set(
        published(results)
    )
    entries = [json.loads(line) for line in results.get_bytes("manifest.jsonl").splitlines()]
    ages = {entry["id"].partition("_")[0]: entry["attributes"]["age"] for entry in entries}
    assert ages == {f"p{number:05d}": number for number in range(3)}


@pytest.mark.soak
def test_a_list_on_s3_gives_the_bytes_of_a_local_one_and_runs_once(tmp_path: Path, s3_bucket: str) -> None:
    local = scenewright("run", write_job(tmp_path / "local.json", write_list(tmp_path / "in"), tmp_path / "out", BLOCK))
    assert local.code == 0, local.stderr
    manifest = write_remote_job(tmp_path, tmp_path / "in", s3_bucket)
    remote = scenewright("run", manifest)
    assert remote.code == 0, remote.stderr
    results = open_store(f"s3://{s3_bucket}/results")
    found = {path: lasting_hash(path, results.get_bytes(path)) for path in lasting_paths(published(results))}
    assert found == lasting_files(tmp_path / "out")
    again = scenewright("run", manifest)
    assert (again.code, again.steps() & set(STAGES)) == (0, set())
