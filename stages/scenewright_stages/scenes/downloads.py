"""What a scene was exported to, as links of its page: with size, what opens it, and what it loses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from scenewright_stages.contract.stage import SampleOutcome
from scenewright_stages.exports import STAGE, TARGETS, size_text
from scenewright_stages.report.data import Link

_LABELS = {
    "spz": "SPZ",
    "sog": "SOG",
    "compressed_ply": "Compressed PLY",
    "padded_ply": "PLY with harmonics",
    "splat": "SPLAT",
    "glb": "glTF (GLB)",
    "usdc": "USD",
    "usdz": "USDZ",
    "lod": "Levels of detail",
    "collider_glb": "Collider (GLB)",
    "collider_stl": "Collider (STL)",
    "walkable": "Walkable floor",
    "frames": "Ground truth frames",
}


def downloads(outcome: SampleOutcome) -> Iterator[Link]:
    """Links to the files of the stage that exports; none if it did not run to its end."""
    record = outcome.records.get(STAGE)
    if record is None or record.state != "done":
        return
    metrics = record.metrics.get("formats", {})
    for name, target in TARGETS.items():
        for output in target.files:
            if output in record.outputs:
                file = record.outputs[output]
                yield Link(_LABELS[output], file.path, _note(file.size, target.opens, metrics.get(name, {})))


def _note(size: int, opens: str, metrics: Mapping[str, Any]) -> str:
    loss = metrics.get("loss_db")
    lost = "" if loss is None else f" · loses {max(0.0, loss):.2f} dB"
    return f"{size_text(size)}{lost} · opens in {opens}"
