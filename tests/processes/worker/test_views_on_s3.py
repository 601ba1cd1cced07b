"""Families, numbered files and folders on object storage: the same results as in a folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from summaries import untimed
from toy_steps import Job
from toy_views import PIPELINE, RAN

from scenewright_stages.contract import layout
from scenewright_stages.store import open_store


@pytest.mark.slow
def test_many_files_and_families_are_the_same_on_s3(tmp_path: Path, s3_bucket: str) -> None:
    local = Job(tmp_path / "local", PIPELINE)
    remote = Job(tmp_path / "remote", PIPELINE, options={"output": {"uri": f"s3://{s3_bucket}/views/out"}})
    remote.input = f"s3://{s3_bucket}/views/in/list.jsonl"
    local.input = str(local.source / "list.jsonl")
    source = open_store(f"s3://{s3_bucket}/views/in")
    rows = '{"uri": "a.txt", "album": "first"}\n{"uri": "b.txt", "album": "second"}\n'
    for name, text in (("a.txt", "photo a"), ("b.txt", "photo b"), ("list.jsonl", rows)):
        (local.source / name).write_text(text)
        source.put_bytes(name, text.encode())
    output = open_store(f"s3://{s3_bucket}/views/out")

    def visible() -> dict[str, str]:
        keys = [entry.key for entry in output.list() if not entry.key.startswith(layout.ROOT)]
        found = {key: output.get_bytes(key) for key in keys}
        found[layout.SUMMARY] = untimed(found[layout.SUMMARY])
        return {key: content.decode() for key, content in found.items()}

    for block in ({}, {"frames": 1}):
        local.block = remote.block = block
        local.all_steps()
        remote.all_steps()
        assert visible() == local.results()
    RAN.clear()
    remote.all_steps()
    assert RAN == []
