"""Lists data set folders: ``metadata.json`` has entries, each with one image per variant. Pure functions.

An entry has ``photorealistic`` and ``stylized`` (or other variants), each with ``original_path`` or ``path`` relative
to the folder, or with ``filename`` in a folder named after the variant. An entry without variants falls back to
``scaffold.input_image``, ``input_image``, ``images/<index>.*`` or ``images/index_NNNN.*`` as the variant ``default``.
Its index is its own ``index``, or else its position in the list. Ids are ``<variant>/index_NNNN``, the layout of the
batch script. An entry may set ``parameters`` for its own samples.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from scenewright_stages.contract.errors import ConfigurationError
from scenewright_stages.contract.inputs import InputKind, Listed
from scenewright_stages.worker.index.files import entry_facts, files_of, typed_names
from scenewright_stages.worker.index.lists import PARAMETERS

METADATA = "metadata.json"
DEFAULT_VARIANT = "default"
NOT_VARIANTS = frozenset({"scaffold", "expansion", PARAMETERS})
ATTRIBUTES = ("prompt", "text", "caption", "name")
"""Text fields of an entry that stages may read."""


def is_dataset(keys: Sequence[str]) -> bool:
    """Whether the keys are those of a data set folder."""
    return METADATA in keys


def list_dataset(
    content: bytes, uri: str, keys: Sequence[str], kind: InputKind, variants: Sequence[str]
) -> list[Listed]:
    """Samples of a data set folder, ordered by entry and then by variant within the entry.

    Args:
        content: of ``metadata.json``.
        uri: of the folder, for messages.
        keys: of everything in the folder.
        kind: gives the suffixes, sidecars and types of facts.
        variants: the selected variants; empty for all.

    Raises:
        ConfigurationError: the file is not a list of entries, or no entry has a selected variant.
    """
    present = set(keys)
    entries = _entries(content, uri)
    listed = [
        each
        for position, entry in enumerate(entries)
        for each in _entry_samples(position, entry, present, kind)
        if not variants or each.attributes["variant"] in variants
    ]
    if not listed:
        known = sorted(
            {name for at, entry in enumerate(entries) for name, _ in _images(_index(at, entry), entry, present, kind)}
        )
        raise ConfigurationError(
            "spec.input.select.variants", list(variants), f"the entries of {uri} have {', '.join(known) or 'none'}"
        )
    return listed


def _entries(content: bytes, uri: str) -> list[Mapping[str, Any]]:
    try:
        data = json.loads(content)
    except ValueError as problem:
        raise ConfigurationError("spec.input.uri", uri, f"{METADATA} is not valid JSON: {problem}") from None
    entries = data.get("samples") if isinstance(data, dict) else data
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ConfigurationError(
            "spec.input.uri", uri, f"{METADATA} must be a list of objects, or have it as 'samples'"
        )
    return entries


def _entry_samples(position: int, entry: Mapping[str, Any], present: set[str], kind: InputKind) -> Iterator[Listed]:
    index = _index(position, entry)
    names = dict.fromkeys((*ATTRIBUTES, *typed_names(kind)))
    given = {
        name: entry[name]
        for name in names
        if name in entry and (name not in ATTRIBUTES or isinstance(entry[name], str))
    }
    facts, rejected = entry_facts(given, kind)
    overrides = entry.get(PARAMETERS)
    for variant, path in _images(index, entry, present, kind):
        listed = Listed(
            f"{variant}/index_{index:04d}",
            files_of(path, kind, present) if path in present else {},
            {"variant": variant, "index": index, **facts},
            overrides if isinstance(overrides, dict) else {},
            rejected=rejected,
        )
        if path not in present:
            listed = replace(listed, rejected=("InputMissing", _missing_file_message(index, entry, variant, path)))
        yield kind.read_entry(listed, entry, present) if kind.read_entry is not None else listed


def _index(position: int, entry: Mapping[str, Any]) -> int:
    own = entry.get("index")
    return own if isinstance(own, int) and own >= 0 else position


def _images(index: int, entry: Mapping[str, Any], present: set[str], kind: InputKind) -> Iterator[tuple[str, str]]:
    found = False
    for variant, details in entry.items():
        path = _variant_path(variant, details)
        if path:
            found = True
            yield variant, path
    if not found:
        yield DEFAULT_VARIANT, _fallback(index, entry, present, kind)


def _variant_path(variant: str, details: Any) -> str:
    if variant in NOT_VARIANTS or not isinstance(details, dict) or not variant.isidentifier():
        return ""
    filename = details.get("filename")
    path = details.get("original_path") or details.get("path")
    if path is None and isinstance(filename, str) and filename:
        path = f"{variant}/{filename}"
    return path.removeprefix("./") if isinstance(path, str) else ""


def _fallback(index: int, entry: Mapping[str, Any], present: set[str], kind: InputKind) -> str:
    if named := _named_picture(entry):
        return named
    conventional = [f"{name}{suffix}" for name in _conventions(index) for suffix in kind.suffixes]
    return next((path for path in conventional if path in present), conventional[0])


def _named_picture(entry: Mapping[str, Any]) -> str:
    """The image of an entry without variants; empty if it names none."""
    scaffold = entry.get("scaffold")
    named = scaffold.get("input_image") if isinstance(scaffold, dict) else None
    named = named or entry.get("input_image")
    return named.removeprefix("./") if isinstance(named, str) else ""


def _conventions(index: int) -> tuple[str, str]:
    return f"images/index_{index:04d}", f"images/{index}"


def _missing_file_message(index: int, entry: Mapping[str, Any], variant: str, path: str) -> str:
    if variant != DEFAULT_VARIANT or _named_picture(entry):
        return f"{METADATA} names {path!r}, which is not in the folder"
    by_convention = " or ".join(f"{name}.*" for name in _conventions(index))
    return (
        "the entry has no picture; looked for a variant (such as photorealistic) with original_path, path or filename, "
        f"then for scaffold.input_image, input_image, {by_convention}"
    )
