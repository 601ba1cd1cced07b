"""Hashes that decide what runs again, and the seeds of every random draw.

A stage's key covers the parameters that differ from the defaults of the stage's version. Those defaults are frozen in
`defaults.json` beside the pipeline. A release that changes a default must raise the version of every stage that uses
it; a new field with a default changes no key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.alias_generators import to_camel

from scenewright_stages.contract.params import default_values, plain
from scenewright_stages.contract.pipeline import INPUT, Pipeline, StageSpec
from scenewright_stages.contract.samples import SOURCE, Sample

_MISSING = object()
_ATTRIBUTES = "|attributes="


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


def stage_keys(
    pipeline: Pipeline,
    params: BaseModel,
    revisions: Mapping[str, str],
    seed: int,
    inputs: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Keys of a whole chain, by stage name. A result made under a key is valid wherever the key is equal.

    Args:
        pipeline: gives the chain and the frozen defaults.
        params: effective parameters.
        revisions: model revision of each backend in use, by ``capability/backend``.
        seed: the job's seed.
        inputs: hashes, by name, of the named inputs that are known before the run starts.
    """
    keys: dict[str, str] = {}
    for stage in pipeline.stages(params):
        parts: dict[str, Any] = {
            "stage": stage.name,
            "version": stage.version,
            "parameters": _changed_parameters(params, stage, pipeline),
            "backends": _backends(stage, revisions),
            "reads": {name: keys[name] for name in (*_read_whole(stage), *stage.keyed_by)},
            "seed": seed,
        }
        if known := {name: inputs[name] for name in stage.inputs if inputs and inputs.get(name)}:
            parts["inputs"] = known
        keys[stage.name] = short_hash(parts)
    return keys


def _read_whole(stage: StageSpec) -> list[str]:
    """The upstream stages from which the stage reads more than a single part.

    For a part, the record holds the hash of that one file; the rest of the upstream output does not matter.
    """
    whole = {read.stage for read in stage.reads if not read.part}
    return [name for name in stage.upstream() if name in whole]


def input_fingerprint(stage: StageSpec, sample: Sample, inputs: Mapping[str, str], answer: str = "") -> str:
    """Fingerprint of what a stage reads besides upstream outputs: a record is stale when it differs.

    Args:
        stage: says which files, attributes and named inputs it reads.
        sample: the sample.
        inputs: hashes of the named inputs, by name.
        answer: hash of a person's answer, if the stage asks for one.
    """
    roles = [read.outputs for read in stage.reads if read.stage == INPUT]
    wanted = [role for role in (SOURCE, *sorted(sample.files.keys() - {SOURCE})) if role in sample.files]
    names = {name for outputs in roles for name in outputs or wanted}
    text = "+".join(sample.files[role].fingerprint for role in wanted if role in names)
    if stage.attributes:
        text += _ATTRIBUTES + short_hash({name: sample.attributes.get(name) for name in stage.attributes})
    if overrides := _relevant(sample.overrides, stage.parameters):
        text += f"|parameters={short_hash(overrides)}"
    if stage.inputs:
        text += f"|inputs={short_hash({name: inputs.get(name, '') for name in stage.inputs})}"
    return f"{text}|answer={answer}" if answer else text


def same_fingerprint(recorded: str, current: str) -> bool:
    """Whether a recorded fingerprint still holds. Records of releases without attributes stay valid."""
    if recorded == current:
        return True
    files, mark, rest = current.partition(_ATTRIBUTES)
    return bool(mark) and "|" not in recorded and "|" not in rest and recorded == files


def frozen_table(pipeline: Pipeline) -> dict[str, Any]:
    """What `defaults.json` must hold for today's code: version and parameter defaults of every stage."""
    table: dict[str, Any] = {}
    values = default_values(pipeline.params)
    for block in pipeline.sample_blocks():
        for stage in pipeline.stages(pipeline.parse(block)):
            entry = table.setdefault(stage.name, {"version": stage.version, "defaults": {}})
            for path in stage.parameters:
                if (value := _at(values, path)) is not _MISSING:
                    entry["defaults"][path] = value
    return {
        name: {**entry, "defaults": dict(sorted(entry["defaults"].items()))} for name, entry in sorted(table.items())
    }


def refreshed_table(stored: Mapping[str, Any], current: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The frozen table extended by new defaults, and the defaults that changed without a new stage version.

    Args:
        stored: the table beside the pipeline.
        current: :func:`frozen_table` of the code.
    """
    table: dict[str, Any] = {}
    changed: list[str] = []
    for stage, entry in current.items():
        known = stored.get(stage, {})
        if known.get("version") == entry["version"]:
            defaults = _extended(known["defaults"], entry["defaults"], f"{stage}: ", changed)
            table[stage] = {"version": entry["version"], "defaults": defaults}
        else:
            table[stage] = dict(entry)
    return table, changed


def _extended(stored: Any, current: Any, path: str, changed: list[str]) -> Any:
    """The stored values plus those that only the code has; paths where the two differ go into `changed`."""
    if isinstance(stored, Mapping) and isinstance(current, Mapping):
        names = [*stored, *(name for name in current if name not in stored)]
        return {
            name: _extended(
                stored.get(name, current.get(name)), current.get(name, stored.get(name)), f"{path}{name}.", changed
            )
            for name in sorted(names)
        }
    if stored != current:
        changed.append(f"{path.rstrip('.')} was {stored!r} and is {current!r}")
    return stored


def _changed_parameters(params: BaseModel, stage: StageSpec, pipeline: Pipeline) -> dict[str, Any]:
    """The stage's parameters that differ from its version's defaults, by dotted path."""
    entry = pipeline.defaults.get(stage.name, {})
    frozen = entry.get("defaults", {}) if entry.get("version") == stage.version else {}
    values = default_values(type(params))
    changed: dict[str, Any] = {}
    for path in stage.parameters:
        value = _value(params, path)
        default = _default(value, frozen.get(path, _MISSING), _at(values, path))
        if plain(value) != default:
            changed[path] = _difference(value, default)
    return changed


def _backends(stage: StageSpec, revisions: Mapping[str, str]) -> dict[str, list[str]]:
    """Name and revision of every backend that may serve, in order, by capability."""
    found: dict[str, list[str]] = {}
    for capability, name in stage.models.choices():
        found.setdefault(capability, []).extend((name, revisions.get(f"{capability}/{name}", "")))
    return found


def _value(params: Any, path: str) -> Any:
    for part in path.split("."):
        params = getattr(params, part, None)
    return params


def _at(values: Any, path: str) -> Any:
    for part in path.split("."):
        if not isinstance(values, Mapping) or part not in values:
            return _MISSING
        values = values[part]
    return values


def _default(value: Any, frozen: Any, current: Any) -> Any:
    """The frozen default; for fields added to a block since then, today's."""
    if frozen is _MISSING:
        return current
    if not isinstance(value, BaseModel) or not isinstance(frozen, Mapping) or not isinstance(current, Mapping):
        return frozen
    found = {
        name: _default(getattr(value, name), frozen.get(name, _MISSING), current.get(name, _MISSING))
        for name in type(value).model_fields
    }
    return {name: default for name, default in found.items() if default is not _MISSING}


def _difference(value: Any, default: Any) -> Any:
    if not isinstance(value, BaseModel) or not isinstance(default, Mapping):
        return plain(value)
    changed = {}
    for name in sorted(type(value).model_fields):
        own, other = getattr(value, name), default.get(name, _MISSING)
        if plain(own) != other:
            changed[name] = _difference(own, other)
    return changed


def _relevant(overrides: Mapping[str, Any], paths: Sequence[str]) -> dict[str, Any]:
    """The overrides at, below or above a parameter that the stage depends on, by manifest path."""
    wanted = [".".join(to_camel(part) for part in path.split(".")) + "." for path in paths]
    return {
        name: value
        for name, value in leaves(overrides).items()
        if any(f"{name}.".startswith(path) or path.startswith(f"{name}.") for path in wanted)
    }


def leaves(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of nested objects by dotted path; an empty object counts as a value."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        below = leaves(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {}
        found |= below or {f"{prefix}{name}": value}
    return found
