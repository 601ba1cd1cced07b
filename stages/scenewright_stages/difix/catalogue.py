"""Writes the index files of a pairs data set: manifests, split, ``difix/data.json`` and generation statistics."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from scenewright_stages.contract.errors import ConfigurationError
from scenewright_stages.contract.stage import Catalogue, Dropped
from scenewright_stages.contract.tables import table
from scenewright_stages.difix.params import PairsParams

PROMPT = "remove degradation"
_FACTS = (
    "sample_id", "dataset", "scene_name", "group_id", "target_cam_id", "reference_cam_id", "target_fname",
    "reference_fname", "image_path", "target_image_path", "ref_image_path",
)  # fmt: skip
Row = Mapping[str, Any]


def index_files(catalogue: Catalogue) -> dict[str, bytes]:
    """Content by path of the index files.

    Raises:
        ConfigurationError: there are no pairs, or one side of the split is empty.
    """
    spec = catalogue.job.get("spec", {})
    params = PairsParams.model_validate(spec.get("difixPairs") or {})
    rows = sorted(
        (dict(entry.records["pair"].metrics) for entry in catalogue.entries), key=lambda row: row["sample_id"]
    )
    sides = {side: [row for row in rows if row["split"] == side] for side in ("train", "test")}
    if catalogue.to_the_end:
        _refuse_empty(sides, rows, [each for each in catalogue.dropped if not each.follows])
    root = (
        str((spec.get("output") or {}).get("uri", "")).rstrip("/") + "/" if params.data_json.paths == "absolute" else ""
    )
    return {
        "manifests/all_samples.jsonl": _lines(rows),
        "manifests/split_train.jsonl": _lines(sides["train"]),
        "manifests/split_test.jsonl": _lines(sides["test"]),
        "manifests/split_summary.json": _json(split_summary(sides)),
        "difix/data.json": _json(
            {side: {row["sample_id"]: _entry(row, root) for row in own} for side, own in sides.items()}
        ),
        "meta/generation_config.yaml": yaml.safe_dump(_settings(params, spec), sort_keys=False).encode(),
        "meta/generation_stats.json": _json(generation_stats(catalogue, rows)),
        "meta/dropped_samples.csv": _dropped(catalogue),
    }


def split_summary(sides: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """Groups and counts of each side of the split."""
    return {
        side: {"samples": len(rows), "groups": sorted({row["group_id"] for row in rows})}
        for side, rows in sides.items()
    }


def generation_stats(catalogue: Catalogue, rows: Sequence[Row]) -> dict[str, Any]:
    """Coverage of the data set, camera numbers of each scene, and why samples were dropped."""
    strategies: dict[str, dict[str, Any]] = defaultdict(lambda: {"kept": 0, "dropped": Counter()})
    for row in rows:
        strategies[f"{row['strategy']}{row['level']}"]["kept"] += 1
    lost = [each for each in catalogue.dropped if each.unit]
    for each in lost:
        facts = each.sample.attributes
        strategies[f"{facts.get('strategy', '')}{facts.get('level', '')}" or "none"]["dropped"][each.reason] += 1
    return {
        "samples": len(rows),
        "dropped": len(lost),
        "datasets": dict(sorted(Counter(row["dataset"] for row in rows).items())),
        "scenes": dict(sorted(Counter(row["scene_name"] for row in rows).items())),
        "groups": dict(sorted(Counter(row["group_id"] for row in rows).items())),
        "cameras": _cameras(catalogue),
        "strategies": {
            name: {"kept": found["kept"], "dropped": dict(sorted(found["dropped"].items()))}
            for name, found in sorted(strategies.items())
        },
        "psnr_histogram": {
            str(level): count for level, count in sorted(Counter(int(row["psnr"]) for row in rows).items())
        },
    }


def _cameras(catalogue: Catalogue) -> dict[str, dict[str, int]]:
    """The numbers used by ``target_cam_id`` and ``reference_cam_id``, by scene and camera name."""
    facts = [entry.sample.root.attributes for entry in catalogue.entries]
    found = {str(each["scene"]): dict(each.get("cameras", {})) for each in facts}
    return dict(sorted(found.items()))


def _settings(params: PairsParams, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the whole data set: seed and parameters."""
    seed = (spec.get("execution") or {}).get("seed")
    return {**({} if seed is None else {"seed": seed}), **params.model_dump(mode="json", by_alias=True)}


def _refuse_empty(sides: Mapping[str, Sequence[Row]], rows: Sequence[Row], dropped: Sequence[Dropped]) -> None:
    if not rows:
        reasons = dict(Counter(each.reason for each in dropped).most_common())
        remedy = "every pair was dropped: relax gates, reference or groupBy, or choose other strategies"
        nothing = "the strategies give no pair: crossCamera alone needs several cameras"
        raise ConfigurationError("spec.difixPairs", reasons, remedy if reasons else nothing)
    groups = sorted({row["group_id"] for row in rows})
    for side, own in sides.items():
        if not own:
            raise ConfigurationError(
                f"spec.difixPairs.split.{side}",
                groups,
                f"no pair is left for the {side} side: name some of these groups there, or add captures",
            )


def _entry(row: Row, root: str) -> dict[str, str]:
    return {
        "image": root + row["image_path"],
        "target_image": root + row["target_image_path"],
        "ref_image": root + row["ref_image_path"],
        "prompt": PROMPT,
    }


def _lines(rows: Sequence[Row]) -> bytes:
    return "".join(json.dumps({name: row[name] for name in _FACTS}) + "\n" for row in rows).encode()


def _dropped(catalogue: Catalogue) -> bytes:
    rows = (
        (str(each.sample.attributes.get("pair", each.sample.id)), each.stage, each.reason, each.message)
        for each in catalogue.dropped
    )
    return table(("sample_id", "stage", "reason", "message"), rows)


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def chosen_checkpoints(catalogue: Catalogue) -> dict[str, str]:
    """The checkpoints that other objects may use: ``best``, ``latest``, then each by its step, newest first.

    The order matters, because a report keeps only the first few.
    """
    found: dict[str, str] = {}
    for entry in catalogue.entries:
        record = entry.records.get("tune")
        if record is None:
            continue
        paths = [file.path for file in record.outputs["checkpoints"].files().values()]
        steps = {int(path.rpartition("_")[2].split(".")[0]): path for path in paths if path.endswith(".safetensors")}
        found = {name: steps[int(record.metrics[f"{name}_step"])] for name in ("best", "latest")}
        found |= {str(step): path for step, path in sorted(steps.items(), reverse=True)}
    return found
