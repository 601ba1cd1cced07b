"""Small relighting jobs, run by the command that users type, in the processes that users get."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scenewright_stages.contract import layout
from scenewright_stages.contract.records import Record

STAGES = ("segment", "albedo", "degrade", "recombine")
MASKED: dict[str, Any] = {"segmentation": {"backend": "mask"}}
"""Masks beside the images: the quickest way through all stages."""


def write_job(path: Path, source: object, output: object, block: Mapping[str, Any] = MASKED, **spec: Any) -> Path:
    """A DatasetJob as JSON, which is YAML too."""
    content = {
        "apiVersion": "scenewright.io/v1alpha1",
        "kind": "DatasetJob",
        "metadata": {"name": "portraits"},
        "spec": {"input": {"uri": str(source)}, "output": {"uri": str(output)}, "relight": dict(block), **spec},
    }
    path.write_text(json.dumps(content))
    return path


def done_records(output: Path) -> dict[tuple[str, str], list[Record]]:
    """All stored ``done`` records by stage and sample, in the order in which they were made."""
    found: dict[tuple[str, str], list[Record]] = {}
    for stage in STAGES:
        for file in sorted((output / layout.ROOT / stage).rglob("*.jsonl")):
            for record in map(Record.from_line, filter(None, file.read_text().split("\n"))):
                if record.state == "done":
                    found.setdefault((stage, record.sample), []).append(record)
    return {name: sorted(records, key=lambda record: record.at) for name, records in found.items()}


def json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file with one in each line."""
    return [json.loads(line) for line in path.read_text().split("\n") if line]
