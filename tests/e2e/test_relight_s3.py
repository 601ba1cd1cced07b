"""A data set on a real S3 server, from a list there: the bytes of a local run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from portraits import write_portraits
from relight_jobs import MASKED, STAGES, write_job
from scene_jobs import lasting_files, lasting_hash, lasting_paths, scenewright

from scenewright_stages.contract import layout
from scenewright_stages.store import open_store

pytestmark = pytest.mark.slow


def test_a_list_on_s3_gives_the_bytes_of_a_local_one_and_runs_once(tmp_path: Path, s3_bucket: str) -> None:
    source = tmp_path / "in"
    write_portraits(source, 3, side=64)
    rows = [{"uri": f"p{number:05d}.png", "mask": f"p{number:05d}.mask.png", "age": number} for number in range(3)]
    (source / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    block = {**MASKED, "variants": 2}
    local = scenewright("run", write_job(tmp_path / "local.json", source / "list.jsonl", tmp_path / "out", block))
    assert local.code == 0, local.stderr
    store = open_store(f"s3://{s3_bucket}/faces")
    for path in source.iterdir():
        store.put_bytes(path.name, path.read_bytes())
    target = f"s3://{s3_bucket}/results"
    manifest = write_job(tmp_path / "s3.json", f"s3://{s3_bucket}/faces/list.jsonl", target, block)
    remote = scenewright("run", manifest)
    assert remote.code == 0, remote.stderr
    results = open_store(target)
    files = json.loads(results.get_bytes(layout.PUBLISHED))["files"]
    found = {path: lasting_hash(path, results.get_bytes(path)) for path in lasting_paths(files)}
    assert found == lasting_files(tmp_path / "out")
    again = scenewright("run", manifest)
    assert (again.code, again.steps() & set(STAGES)) == (0, set())
