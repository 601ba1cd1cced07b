"""``summary.json`` without its times: all of it that equal work makes equal."""

from __future__ import annotations

import json

from scenewright_stages.contract import layout


def untimed(content: bytes) -> bytes:
    """The summary without its times."""
    summary = json.loads(content)
    del summary["times"]
    return json.dumps(summary, indent=2, ensure_ascii=False).encode()


def comparable(path: str, content: bytes) -> bytes:
    """A file's content without the times of a summary, be it that of a publication inside another."""
    return untimed(content) if path.rpartition("/")[2] == layout.SUMMARY else content
