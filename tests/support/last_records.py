"""Which of many records of a sample tells how it ended."""

from __future__ import annotations

from collections.abc import Iterable

from scenewright_stages.contract.records import Record


def latest(records: Iterable[Record]) -> dict[str, Record]:
    """The record that counts for each sample: the latest ``done``, else the latest end, else the latest start."""
    best: dict[str, Record] = {}
    for record in records:
        current = best.get(record.sample)
        if current is None or _precedence(record) >= _precedence(current):
            best[record.sample] = record
    return best


def _precedence(record: Record) -> tuple[int, float]:
    rank = {"started": 0, "skipped": 1, "failed": 1, "rejected": 1, "done": 2}[record.state]
    return rank, record.at
