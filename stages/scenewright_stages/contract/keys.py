"""Hashes that decide what runs again, and the seeds of every random draw."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from scenewright_stages.contract.pipeline import StageSpec


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def short_hash(value: Any) -> str:
    """16 hexadecimal digits of the blake2b hash of the canonical JSON."""
    return hashlib.blake2b(canonical_json(value).encode(), digest_size=8).hexdigest()


def seed_for(job_seed: int, stage: str, sample_id: str) -> int:
    """Seed of every random draw of a stage on a sample: 63 bits of blake2b(job seed, stage, sample id)."""
    digest = hashlib.blake2b(f"{job_seed}\0{stage}\0{sample_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def changed_parameters(params: BaseModel, paths: tuple[str, ...]) -> dict[str, Any]:
    """The parameters at the dotted paths that differ from their defaults, by path.

    Only differences are hashed, so that a new field with a default regenerates nothing.
    """
    changed: dict[str, Any] = {}
    for path in paths:
        value, default = _value_and_default(params, path)
        current = _plain(value)
        if current != _plain(default):
            changed[path] = _difference(value, default)
    return changed


def stage_key(
    stage: StageSpec,
    params: BaseModel,
    upstream_keys: Mapping[str, str],
    revisions: Mapping[str, str],
    seed: int,
) -> str:
    """Key of a stage: equal keys mean that a sample made under one counts under the other.

    Args:
        stage: the declared stage.
        params: effective parameters of the pipeline.
        upstream_keys: keys of the stages that it reads, by name.
        revisions: model revision of each of its backends, by ``capability/backend``.
        seed: the job's seed.
    """
    return short_hash(
        {
            "stage": stage.name,
            "version": stage.version,
            "parameters": changed_parameters(params, stage.parameters),
            "backends": _backends(stage, revisions),
            "reads": {name: upstream_keys[name] for name in stage.upstream()},
            "seed": seed,
        }
    )


def _backends(stage: StageSpec, revisions: Mapping[str, str]) -> dict[str, list[str]]:
    """Name and revision of every backend that may serve, in order, by capability."""
    found: dict[str, list[str]] = {}
    for capability, name in stage.backend_choices():
        found.setdefault(capability, []).extend((name, revisions.get(f"{capability}/{name}", "")))
    return found


def stage_keys(
    stages: tuple[StageSpec, ...], params: BaseModel, revisions: Mapping[str, str], seed: int
) -> dict[str, str]:
    """Keys of a whole chain, by stage name; stages must come in the order in which they run."""
    keys: dict[str, str] = {}
    for stage in stages:
        keys[stage.name] = stage_key(stage, params, keys, revisions, seed)
    return keys


def _value_and_default(params: BaseModel, path: str) -> tuple[Any, Any]:
    value: Any = params
    default: Any = type(params)()
    for part in path.split("."):
        value = getattr(value, part)
        default = getattr(default, part) if default is not None else None
    return value, default


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value


def _difference(value: Any, default: Any) -> Any:
    if not isinstance(value, BaseModel) or not isinstance(default, BaseModel):
        return _plain(value)
    names = type(value).model_fields
    return {
        name: _difference(getattr(value, name), getattr(default, name))
        for name in sorted(names)
        if _plain(getattr(value, name)) != _plain(getattr(default, name))
    }
