"""Names that all processes share: the layout below an output prefix, and the keys of a storage Secret."""

from __future__ import annotations

ROOT = ".scenewright"
INDEX = f"{ROOT}/index.jsonl"
JOB = f"{ROOT}/job.json"
LOCK = f"{ROOT}/lock.json"
PUBLISHED = f"{ROOT}/published.json"
WORK = f"{ROOT}/work"
STATE = f"{ROOT}/state"
STATE_FILE = r"[0-9a-f]{16}/(latest\.json|[0-9]+/.+)"
"""Pattern of the files of one state below the folder of its sample."""

MANIFEST = "manifest.jsonl"
DROPPED = "dropped.csv"
SUMMARY = "summary.json"
REPORT = "report.html"

STORAGE_KEYS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_CA_BUNDLE",
)
"""All that is ever taken from a storage Secret: a whole one could set PYTHONPATH or LD_PRELOAD."""


def records_prefix(stage: str, key: str) -> str:
    """Folder of all record files of one stage under one key."""
    return f"{ROOT}/{stage}/{key}/"


def record_file(stage: str, key: str, run: str, shard: int, pod: str) -> str:
    """The record file of one attempt, its only writer."""
    return f"{records_prefix(stage, key)}{run}-{shard}-{pod}.jsonl"


def compacted_records(stage: str, key: str) -> str:
    """Where publish merges the records of a key."""
    return f"{records_prefix(stage, key)}records.jsonl"


def state_prefix(stage: str, sample: str) -> str:
    """Folder of all durable states of one sample in one stage."""
    return f"{STATE}/{stage}/{sample}/"


def worklist(run: str, stage: str) -> str:
    """The stage's worklist: samples that are not up to date, one JSON line each."""
    return f"{ROOT}/runs/{run}/{stage}.jsonl"


def run_inputs(run: str) -> str:
    """Hashes of the named inputs as the index step of a run found them."""
    return f"{ROOT}/runs/{run}/inputs.json"


def index_warnings(run: str) -> str:
    """What the index step of a run warned of; its report may hold the beginnings only."""
    return f"{ROOT}/runs/{run}/warnings.json"


def report(run: str, step: str) -> str:
    """Report of the index, of a stage or of publish."""
    return f"{ROOT}/runs/{run}/{step}.report.json"


def log_file(run: str, step: str, shard: int, pod: str) -> str:
    """Log of one attempt, growing while it runs."""
    return f"{ROOT}/logs/{run}/{step}-{shard}-{pod}.log"
