"""Names of samples and of the files that belong to them, for every lister.

Ids are path-safe ASCII, so that every file system, object store and loader of data sets takes them. Names in other
scripts are spelled in Latin letters; ids that are unique and readable without that stay as they are.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

from scenewright_stages.contract.errors import SampleError
from scenewright_stages.contract.layout import DROPPED, MANIFEST, REPORT, SUMMARY
from scenewright_stages.contract.samples import SOURCE, sample_id_from

RESERVED_IDS = frozenset({MANIFEST, SUMMARY, DROPPED, REPORT, "croissant.json"})
"""Files that publish writes at the top of an output."""
_MOST_REPLACED = 1 / 3
"""Largest share of a name's characters that an id may lack and still be read."""


def unique_ids(keys: Sequence[str], flat: bool = False) -> dict[str, str]:
    """A path-safe id for every key.

    It is the key's stem. Keys with equal stems get longer ids: with the suffix, then with a hash. All colliding keys
    get the longer id, so ids do not depend on the order of the listing.

    Args:
        keys: of the samples' files; distinct.
        flat: for ids of one component, without folders unless they are needed to tell keys apart.
    """
    names: tuple[Callable[[str], str], ...] = (stem_of, str, _hashed)
    if flat:
        names = (_last(stem_of), _flat(stem_of), _flat(str), _flat(_hashed))
    ids: dict[str, str] = {}
    pending = list(keys)
    for name in names:
        for spelled in (False, True):
            made = {key: _safe_id(name(key), spelled) for key in pending}
            counts = Counter(made.values())
            taken = set(ids.values())
            lone = {each for each, count in counts.items() if each and count == 1 and each not in taken}
            last = spelled and name is names[-1]
            ids.update((key, each) for key, each in made.items() if last or each in lone)
            pending = [key for key in pending if key not in ids]
    return ids


def stem_of(key: str) -> str:
    """The key without the suffix of its last component."""
    return re.sub(r"(?<=[^/])\.[^./]*$", "", key)


def digest_of(key: str) -> str:
    """A short hash of a key, of any characters."""
    return hashlib.blake2b(key.encode(errors="surrogateescape"), digest_size=4).hexdigest()


def paired_files(
    keys: Sequence[str],
    suffixes: tuple[str, ...],
    sidecars: Mapping[str, tuple[str, ...]],
    folders: Mapping[str, tuple[str, ...]],
) -> dict[str, dict[str, str]]:
    """Files by role of every source among the keys, in the order of their bytes; hidden files are left out.

    Args:
        keys: of everything in the input.
        suffixes: lower case, of sources.
        sidecars: endings after a source's stem, by role; in any case.
        folders: names of folders that hold nothing but sidecars of a role, named as their sources.
    """
    visible = [key for key in keys if not any(part.startswith(".") for part in key.split("/"))]
    endings = tuple(ending for role in sidecars.values() for ending in role) or ("\0",)
    kept_apart = {name for role in folders.values() for name in role}
    sources = sorted(
        (
            key
            for key in visible
            if key.lower().endswith(suffixes)
            and not key.lower().endswith(endings)
            and not kept_apart.intersection(key.lower().split("/")[:-1])
        ),
        key=lambda key: key.encode(errors="surrogateescape"),
    )
    present = Present(visible)
    return {key: {SOURCE: key, **sidecars_of(key, present, suffixes, sidecars, folders)} for key in sources}


class Present:
    """Keys of an input, found whatever their case; the exact key comes first."""

    def __init__(self, keys: Collection[str]) -> None:
        self._exact = frozenset(keys)
        self._folded: dict[str, str] = {}
        for key in sorted(keys, reverse=True):
            self._folded[key.lower()] = key

    def find(self, key: str) -> str | None:
        """The key as it is written in the input; None if it is not there."""
        return key if key in self._exact else self._folded.get(key.lower())


def sidecars_of(
    key: str,
    present: Present,
    suffixes: tuple[str, ...],
    sidecars: Mapping[str, tuple[str, ...]],
    folders: Mapping[str, tuple[str, ...]],
) -> dict[str, str]:
    """The sidecars of a source, by role: beside it, or in a folder of its own beside it or beside its folder."""
    stem = stem_of(key)
    folder, _, name = stem.rpartition("/")
    above = folder.rpartition("/")[0]
    places = {f"{each}/" if each else "" for each in (folder, above)} if folder else {""}
    found: dict[str, str] = {}
    for role, endings in sidecars.items():
        wanted = [stem + ending for ending in endings]
        wanted += [
            f"{place}{each}/{name}{ending}"
            for place in sorted(places, reverse=True)
            for each in folders.get(role, ())
            for ending in (*suffixes, *endings)
        ]
        if (sidecar := next(filter(None, map(present.find, wanted)), None)) is not None:
            found[role] = sidecar
    return found


def _last(name: Callable[[str], str]) -> Callable[[str], str]:
    return lambda key: name(key).rpartition("/")[2]


def _flat(name: Callable[[str], str]) -> Callable[[str], str]:
    return lambda key: name(key).replace("/", "_")


def _hashed(key: str) -> str:
    return f"{stem_of(key)[:100]}-{digest_of(key)}"


def _safe_id(name: str, spelled: bool) -> str:
    """The id for a name; empty if there is none, or none that can be read without spelling it in Latin letters."""
    if not spelled and not _is_readable(name):
        return ""
    try:
        made = sample_id_from(_in_latin(name) if spelled else name)
    except SampleError:
        return ""
    return f"{made}_" if made in RESERVED_IDS else made


def _is_readable(name: str) -> bool:
    replaced = sum(not (each.isascii() and (each.isalnum() or each in "_.@+/-")) for each in name)
    return name.isascii() or replaced <= _MOST_REPLACED * len(name)


def _in_latin(name: str) -> str:
    if name.isascii():
        return name
    # Only listers of data sets in other scripts need it.
    from anyascii import anyascii

    return re.sub(
        r"\s*:\s*", "_", "".join(part if part == "/" else anyascii(part) for part in re.split(r"(/)", name))
    ).strip("_ ")
