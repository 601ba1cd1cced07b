"""The index files of a batch of worlds: how each entry ended, and which ones to run again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import Catalogue, Dropped
from scenewright_stages.worldexplorer.params import WorldExplorerParams

SUMMARY, FAILED = "batch_summary.json", "failed_indices.json"
_FOLLOWS = "UpstreamFailed"
"""Reason of what could not be made because something before it failed."""


def batch_files(catalogue: Catalogue) -> dict[str, bytes]:
    """Content by path of ``batch_summary.json`` and, where entries failed, ``failed_indices.json``."""
    params = WorldExplorerParams.model_validate(catalogue.job.get("spec", {}).get("worldexplorer") or {})
    done, failed = list(_done(catalogue)), list(_failed(catalogue))
    summary = {
        "total": len(done) + len(failed),
        "success": len(done),
        "failed": len(failed),
        "scaffold_method": params.scaffold.method,
        "results": [*done, *failed],
    }
    files = {SUMMARY: _json(summary)}
    if failed:
        listed = {
            "total_failed_jobs": len(failed),
            "failed_indices": sorted({each["index"] for each in failed if each["index"] is not None}),
            "failed_entries": failed,
        }
        files[FAILED] = _json(listed)
    return files


def _done(catalogue: Catalogue) -> Iterator[dict[str, Any]]:
    for entry in catalogue.entries:
        stages = [name for name, record in entry.records.items() if record.state == "done"]
        home = entry.sample.id
        yield {
            **_facts(entry.sample),
            "status": "success",
            "stages_completed": stages,
            "scaffold_path": f"{home}/scaffold",
            "scene_path": f"{home}/scenes/world",
            "export_path": f"{home}/splat.ply",
        }


def _failed(catalogue: Catalogue) -> Iterator[dict[str, Any]]:
    """Each entry once, with the failure that the others follow from."""
    causes: dict[str, Dropped] = {}
    for each in catalogue.dropped:
        known = causes.get(each.sample.root.id)
        if known is None or (known.reason == _FOLLOWS and each.reason != _FOLLOWS):
            causes[each.sample.root.id] = each
    for each in causes.values():
        error = f"{each.reason}: {each.message}" if each.message else each.reason
        yield {**_facts(each.sample.root), "status": "failed", "stage": each.stage, "error": error}


def _facts(sample: Sample) -> dict[str, Any]:
    return {
        "sample": sample.id,
        "index": sample.attributes.get("index"),
        "variant": sample.attributes.get("variant", "default"),
    }


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
