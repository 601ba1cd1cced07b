"""Where things lie below an output prefix (design document, section 5)."""

from __future__ import annotations

ROOT = ".scenewright"
INDEX = f"{ROOT}/index.jsonl"
JOB = f"{ROOT}/job.json"
LOCK = f"{ROOT}/lock.json"
PUBLISHED = f"{ROOT}/published.json"
WORK = f"{ROOT}/work"


def records_prefix(stage: str, key: str) -> str:
    """Folder of all record files of one stage under one key."""
    return f"{ROOT}/{stage}/{key}/"


def record_file(stage: str, key: str, run: str, shard: int, pod: str) -> str:
    """The record file of one attempt: one writer each."""
    return f"{records_prefix(stage, key)}{run}-{shard}-{pod}.jsonl"


def compacted_records(stage: str, key: str) -> str:
    """Where publish merges the records of a key."""
    return f"{records_prefix(stage, key)}records.jsonl"


def worklist(run: str, stage: str) -> str:
    """Samples of a stage that are not up to date, one JSON line each."""
    return f"{ROOT}/runs/{run}/{stage}.jsonl"


def report(run: str, step: str) -> str:
    """Report of the index, of a stage or of publish."""
    return f"{ROOT}/runs/{run}/{step}.report.json"


def log_file(run: str, step: str, shard: int, pod: str) -> str:
    """Log of one attempt, growing while it runs."""
    return f"{ROOT}/logs/{run}/{step}-{shard}-{pod}.log"
