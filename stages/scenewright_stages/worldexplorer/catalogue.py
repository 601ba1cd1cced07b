"""Writes the index files of a batch of worlds: the result of each entry, and which ones to run again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import Catalogue, Dated, Dropped
from scenewright_stages.worldexplorer.params import WorldExplorerParams

SUMMARY, FAILED = "batch_summary.json", "failed_indices_{time}.json"
_PATHS = {
    "scaffold_path": ("scaffold", "scaffold"),
    "scene_path": ("points", "scenes/world"),
    "export_path": ("export", "splat.ply"),
}
"""Stage that makes each path of a result, and the path below the entry's folder."""


def batch_files(catalogue: Catalogue) -> dict[str, Dated]:
    """Content by path of ``batch_summary.json`` and, if entries failed, ``failed_indices_<time>.json``."""
    spec = catalogue.job.get("spec", {})
    params = WorldExplorerParams.model_validate(spec.get("worldexplorer") or {})
    done, others = list(_done(catalogue)), list(_others(catalogue))
    failed = [each for each in others if each["status"] == "failed"]
    summary = {
        "total": len(done) + len(others),
        "success": len(done),
        "failed": len(failed),
        "elapsed_seconds": round(catalogue.seconds, 1),
        "only_stages": (spec.get("execution", {}).get("stages") or {}).get("only") or None,
        "scaffold_method": params.scaffold.method,
        "results": [*done, *others],
    }
    files = {SUMMARY: _json(summary)}
    if failed:
        listed = {
            "total_failed_jobs": len(failed),
            "failed_indices": sorted({each["index"] for each in failed if each["index"] is not None}),
            "failed_entries": failed,
        }
        files[FAILED.format(time=time.strftime("%Y%m%d_%H%M%S", time.gmtime(catalogue.at)))] = _json(listed)
    return files


def _done(catalogue: Catalogue) -> Iterator[dict[str, Any]]:
    for entry in catalogue.entries:
        stages = [name for name, record in entry.records.items() if record.state == "done"]
        home = entry.sample.id
        paths = {name: f"{home}/{path}" if stage in stages else None for name, (stage, path) in _PATHS.items()}
        yield {**_facts(entry.sample), "status": "success", "stages_completed": stages, **paths}


def _others(catalogue: Catalogue) -> Iterator[dict[str, Any]]:
    """Every other entry once, with its first cause: ``failed``, ``waiting`` for a choice, or ``rejected`` by a rule."""
    done = {entry.sample.root.id for entry in catalogue.entries}
    causes: dict[str, Dropped] = {}
    for each in catalogue.dropped:
        if each.sample.root.id not in done:
            causes.setdefault(each.sample.root.id, each)
    for each in causes.values():
        error = f"{each.reason}: {each.message}" if each.message else each.reason
        status = "failed" if each.end == "missing" else each.end
        yield {**_facts(each.sample.root), "status": status, "stage": each.stage, "error": error}


def _facts(sample: Sample) -> dict[str, Any]:
    return {
        "sample": sample.id,
        "index": sample.attributes.get("index"),
        "variant": sample.attributes.get("variant", "default"),
    }


def _json(value: Any) -> Dated:
    return Dated((json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())
