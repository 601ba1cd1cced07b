"""Index files of the data set, one for each split, and the file that other objects may refer to."""

from __future__ import annotations

import json

from scenewright_stages.contract.stage import Catalogue


def index_files(catalogue: Catalogue) -> dict[str, bytes]:
    """``<split>/index.jsonl`` with a line for each card, and ``splits.json`` over all."""
    lines: dict[str, list[str]] = {}
    for entry in catalogue.entries:
        if "card" not in entry.records:
            continue
        path = entry.records["card"].outputs["card"].path
        cover = json.loads(catalogue.read(path))["cover"]
        row = json.dumps({"id": entry.sample.id, "card": path.partition("/")[2], "cover": cover})
        lines.setdefault(entry.sample.attributes["split"], []).append(row + "\n")
    dropped = [{"sample": each.sample.id, "stage": each.stage, "reason": each.reason} for each in catalogue.dropped]
    splits = {split: len(rows) for split, rows in sorted(lines.items())}
    overview = json.dumps({"splits": splits, "dropped": dropped}, indent=1) + "\n"
    indexes = {f"{split}/index.jsonl": "".join(rows).encode() for split, rows in lines.items()}
    return {**indexes, "splits.json": overview.encode()}


def chosen_files(catalogue: Catalogue) -> dict[str, str]:
    """The album, once it is bound."""
    bound = [entry.records["album"] for entry in catalogue.entries if "album" in entry.records]
    return {"album": bound[0].outputs["album"].path} if bound else {}
