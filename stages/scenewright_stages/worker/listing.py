"""From a listing of the input to candidates for samples: pure functions.

An input is a single object, a prefix with one sample per file, or a dataset folder whose ``metadata.json`` names the
samples and their variants (:mod:`scenewright_stages.worker.datasets`).
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scenewright_stages.contract.errors import SampleError
from scenewright_stages.contract.pipeline import InputKind
from scenewright_stages.contract.samples import sample_id_from

RESERVED_IDS = frozenset({"manifest.jsonl", "summary.json", "dropped.csv", "report.html", "croissant.json"})
"""Files that publish writes at the top of an output."""


@dataclass(frozen=True)
class Candidate:
    """A sample to be: its id, the key of its object, and what else is known.

    Attributes:
        id: path-safe and unique; empty when none could be made.
        key: of its object in the input store; empty when there is none.
        sidecars: keys of further objects, by role.
        attributes: facts that stages may read.
        rejected: reason and message when it cannot be a sample.
    """

    id: str
    key: str
    sidecars: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    rejected: tuple[str, str] | None = None


@dataclass(frozen=True)
class Listing:
    """What an input holds: candidates in order, and the keys that are neither sample nor sidecar."""

    candidates: tuple[Candidate, ...]
    ignored: tuple[str, ...] = ()


def list_files(keys: Iterable[str], kind: InputKind) -> Listing:
    """One candidate for each file with one of the kind's suffixes, sorted by key.

    Hidden files and folders do not count at all. A sidecar belongs to the file that has the same stem.
    """
    visible = [key for key in keys if not any(part.startswith(".") for part in key.split("/"))]
    endings = [ending for role in kind.sidecars.values() for ending in role]
    possible = [key for key in visible if not key.lower().endswith(tuple(endings))] if endings else visible
    sources = sorted((key for key in possible if key.lower().endswith(kind.suffixes)), key=str.encode)
    present = set(visible)
    ids = unique_ids(sources)
    candidates = [_candidate(key, ids[key], kind, present) for key in sources]
    used = {key for candidate in candidates for key in (candidate.key, *candidate.sidecars.values())}
    return Listing(tuple(candidates), tuple(key for key in visible if key not in used))


def sidecars_of(key: str, kind: InputKind, present: set[str]) -> dict[str, str]:
    """Sidecar keys by role of one object: the first ending of each role that is there."""
    stem = stem_of(key)
    found: dict[str, str] = {}
    for role, endings in kind.sidecars.items():
        for ending in endings:
            if stem + ending in present:
                found[role] = stem + ending
                break
    return found


def unique_ids(keys: Sequence[str]) -> dict[str, str]:
    """A path-safe id for every key: its stem; with its ending where stems collide; with a hash where those do too.

    Every one of the colliding keys gets the longer id, so that ids do not depend on the order of a listing. Keys of
    which no id can be made get an empty one.
    """
    ids: dict[str, str] = {}
    pending = list(keys)
    for name in (stem_of, str, _hashed):
        made = {key: _safe_id(name(key)) for key in pending}
        counts = Counter(made.values())
        taken = set(ids.values())
        lone = {made_id for made_id, count in counts.items() if count == 1 and made_id not in taken} | {""}
        ids.update((key, made_id) for key, made_id in made.items() if name is _hashed or made_id in lone)
        pending = [key for key in pending if key not in ids]
    return ids


def stem_of(key: str) -> str:
    """The key without the ending of its last component."""
    return re.sub(r"(?<=[^/])\.[^./]*$", "", key)


def _candidate(key: str, sample_id: str, kind: InputKind, present: set[str]) -> Candidate:
    if not sample_id:
        return Candidate(
            f"unnamed-{_digest(key)}", key, rejected=("BadSampleId", f"{key!r} gives no usable id; rename it")
        )
    return Candidate(sample_id, key, sidecars_of(key, kind, present))


def _safe_id(name: str) -> str:
    try:
        made = sample_id_from(name)
    except SampleError:
        return ""
    return f"{made}_" if made in RESERVED_IDS else made


def _hashed(key: str) -> str:
    return f"{stem_of(key)[:100]}-{_digest(key)}"


def _digest(key: str) -> str:
    return hashlib.blake2b(key.encode(errors="surrogateescape"), digest_size=4).hexdigest()
