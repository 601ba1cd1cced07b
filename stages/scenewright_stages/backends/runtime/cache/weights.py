"""Locates weights on disk, offline and with the standard library only; also downloads them for the command line.

A cache folder may have two layouts:

* the Hugging Face cache, ``models--<org>--<name>/snapshots/<commit>`` with ``refs/<revision>`` (also below
  ``hub/``, as in ``HF_HOME``), and
* a plain copy of the repository, ``<org>/<name>``.

Weights whose revision is a path or ``file:///`` lie in that folder, outside the cache.

``scenewright models --fetch`` downloads with :func:`fetch_weights`; a job's ``models`` step fills the cache with
:mod:`.filling`. Stages never download, because they have neither a token nor network access.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from scenewright_stages.backends.runtime.errors import MissingPackage, MissingWeights
from scenewright_stages.contract.backends import Weights

CACHE_VARIABLE = "SCENEWRIGHT_MODEL_CACHE"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SAMPLED_BYTES = 1 << 16
_INDEX_SUFFIX = ".index.json"


@dataclass(frozen=True)
class WeightsStatus:
    """The state of one set of weights in the cache.

    Attributes:
        state: ``present`` (all required files), ``partial`` (some are lacking) or ``missing``.
        path: the folder with the files; None if missing.
        revision: the commit of a snapshot, ``local-<12 hex>`` for a plain folder (hash of every file's name, size,
            beginning and end), empty if missing.
        size_bytes: current size.
        lacking: required patterns without a file, and missing shards that an index names.
        optional_present: whether all optional patterns have a file (for FLUX: the text encoders).
    """

    state: Literal["present", "partial", "missing"]
    path: Path | None
    revision: str
    size_bytes: int
    lacking: tuple[str, ...]
    optional_present: bool


def default_cache_dir(environment: Mapping[str, str] | None = None) -> Path:
    """The model cache: SCENEWRIGHT_MODEL_CACHE, or else the default Hugging Face cache."""
    environment = os.environ if environment is None else environment
    for variable, inside in ((CACHE_VARIABLE, ""), ("HF_HUB_CACHE", ""), ("HF_HOME", "hub")):
        if environment.get(variable):
            return Path(environment[variable]) / inside
    return Path(environment.get("HOME", "~")).expanduser() / ".cache" / "huggingface" / "hub"


def weights_status(weights: Weights, cache_dir: Path, revision: str | None = None) -> WeightsStatus:
    """The state of ``weights`` in ``cache_dir``; looks only at files, never at the network.

    Args:
        weights: to look for.
        cache_dir: the model cache; need not exist.
        revision: branch, tag or commit to use instead of ``weights.revision``.
    """
    found = _locate(cache_dir, weights, revision or weights.revision)
    if found is None:
        return WeightsStatus("missing", None, "", 0, weights.required_files, False)
    folder, resolved = found
    unmatched = _unmatched(folder, weights.required_files)
    if unmatched and replace(weights, revision=revision or weights.revision).location.startswith("file:"):
        # The user may have named a wrong folder with a million files, so do not read it.
        return WeightsStatus("missing", None, "", 0, unmatched, False)
    files = _files(folder)
    lacking = (*unmatched, *_missing_shards(folder, files))
    return WeightsStatus(
        state="partial" if lacking else "present",
        path=folder,
        revision=resolved or _local_revision(folder, files),
        size_bytes=sum(files.values()),
        lacking=lacking,
        optional_present=not _unmatched(folder, weights.optional_files),
    )


def require_weights(weights: Weights, cache_dir: Path, revision: str | None = None) -> WeightsStatus:
    """The status of completely present weights.

    Raises:
        MissingWeights: they are missing or partial; says what is lacking and how to get it.
    """
    status = weights_status(weights, cache_dir, revision)
    if status.state != "present":
        wanted = replace(weights, revision=revision or weights.revision)
        raise MissingWeights(wanted, cache_dir, status.lacking)
    return status


def _locate(cache_dir: Path, weights: Weights, revision: str) -> tuple[Path, str] | None:
    """Folder and commit (empty for a plain folder) of a repository; None if neither layout has it."""
    location = replace(weights, revision=revision).location
    if location.startswith("file:"):
        folder = Path(unquote(urlsplit(location).path))
        return (folder, "") if folder.is_dir() else None
    for root in (cache_dir, cache_dir / "hub"):
        snapshot = _snapshot(root / f"{weights.repository_type}s--{weights.id.replace('/', '--')}", revision)
        if snapshot is not None:
            return snapshot, snapshot.name
    plain = cache_dir / weights.id
    return (plain, "") if plain.is_dir() else None


def _snapshot(repository: Path, revision: str) -> Path | None:
    snapshots = repository / "snapshots"
    if not snapshots.is_dir():
        return None
    if _COMMIT.fullmatch(revision):
        return _existing(snapshots / revision)
    reference = repository / "refs" / revision
    # The revision comes from the spec, so it must not lead out of the repository.
    if reference.is_relative_to(repository / "refs") and ".." not in reference.parts and reference.is_file():
        return _existing(snapshots / reference.read_text(encoding="utf-8").strip())
    return None


def _existing(folder: Path) -> Path | None:
    return folder if folder.is_dir() else None


def _files(folder: Path) -> dict[str, int]:
    """Relative name and size of every readable file; skips dangling links in a broken cache."""
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()
    }


def _unmatched(folder: Path, patterns: Iterable[str]) -> tuple[str, ...]:
    return tuple(pattern for pattern in patterns if not any(path.is_file() for path in folder.glob(pattern)))


def _missing_shards(folder: Path, files: Mapping[str, int]) -> tuple[str, ...]:
    """Missing shards that a ``*.safetensors.index.json`` names."""
    lacking: set[str] = set()
    for name in files:
        if name.endswith(_INDEX_SUFFIX):
            parent = Path(name).parent
            named = {(parent / shard).as_posix() for shard in _shards(folder / name)}
            lacking |= named - files.keys()
    return tuple(sorted(lacking))


def _shards(index: Path) -> set[str]:
    try:
        return set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, AttributeError, UnicodeDecodeError):
        return {f"{index.name} (unreadable)"}


def _local_revision(folder: Path, files: Mapping[str, int]) -> str:
    """Identifies weights without reading gigabytes, by the beginning and end of every file."""
    digest = hashlib.blake2b(digest_size=6)
    for name, size in sorted(files.items()):
        digest.update(f"{name}\0{size}\0".encode())
        with (folder / name).open("rb") as file:
            digest.update(file.read(_SAMPLED_BYTES))
            file.seek(max(0, size - _SAMPLED_BYTES))
            digest.update(file.read(_SAMPLED_BYTES))
    return f"local-{digest.hexdigest()}"


def fetch_weights(
    weights: Weights,
    cache_dir: Path,
    *,
    revision: str | None = None,
    token: str | None = None,
    with_optional: bool = False,
) -> WeightsStatus:
    """Downloads a backend's weights into the Hugging Face cache layout below ``cache_dir``.

    Does not check the licence. Gated weights need a token whose owner has accepted it.

    Args:
        weights: what to fetch.
        cache_dir: the model cache.
        revision: branch, tag or commit to use instead of ``weights.revision``.
        token: of the Hugging Face account.
        with_optional: also fetch the optional files (for FLUX the text encoders, 10 GB).

    Raises:
        MissingPackage: huggingface_hub is not installed.
        MissingWeights: the repository lacks files that the backend needs.
        huggingface_hub.errors.HfHubHTTPError: no access, no such revision, no network.
    """
    try:
        from huggingface_hub import snapshot_download
    except ModuleNotFoundError as error:
        raise MissingPackage("models.fetch", weights.id, "huggingface_hub", "diffusion") from error
    wanted = revision or weights.revision
    snapshot_download(
        weights.id,
        repo_type=weights.repository_type,
        revision=wanted,
        cache_dir=cache_dir,
        token=token,
        allow_patterns=list(download_patterns(weights, with_optional)),
    )
    return require_weights(weights, cache_dir, wanted)


def download_patterns(weights: Weights, with_optional: bool) -> tuple[str, ...]:
    """Patterns of exactly the files to download, including the indices of sharded ones."""
    indices = tuple(f"{pattern}.index.json" for pattern in weights.required_files if pattern.endswith(".safetensors"))
    return (*weights.required_files, *indices, *(weights.optional_files if with_optional else ()))
