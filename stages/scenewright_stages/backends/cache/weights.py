"""Where weights lie on disk, resolved offline by the standard library alone, and the download for the command line.

Two layouts are understood below a cache folder:

* the Hugging Face cache, ``models--<org>--<name>/snapshots/<commit>`` with ``refs/<revision>`` (also below
  ``hub/``, as in ``HF_HOME``), and
* a plain copy of the repository, ``<org>/<name>``.

Weights whose revision is a path or ``file:///`` lie in that folder, wherever the cache is.

``scenewright models --fetch`` downloads by :func:`fetch_weights`; the ``models`` step of a job fills the cache by
:mod:`.filling` instead. Stages never download: they have neither a token nor a network.
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

from scenewright_stages.backends.errors import MissingPackage, MissingWeights
from scenewright_stages.contract.backends import Weights

CACHE_VARIABLE = "SCENEWRIGHT_MODEL_CACHE"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SAMPLED_BYTES = 1 << 16
_INDEX_SUFFIX = ".index.json"


@dataclass(frozen=True)
class WeightsStatus:
    """What the cache holds of one set of weights.

    Attributes:
        state: ``present`` (all required files), ``partial`` (some are lacking) or ``missing``.
        path: the folder with the files; None when missing.
        revision: the commit of a snapshot, ``local-<12 hex>`` of a plain folder (hash of every file's name, size,
            beginning and end), empty when missing.
        size_bytes: what is there now.
        lacking: required patterns without a file, and shards that an index names but that are not there.
        optional_present: all optional patterns have a file (for FLUX: the text encoders are there).
    """

    state: Literal["present", "partial", "missing"]
    path: Path | None
    revision: str
    size_bytes: int
    lacking: tuple[str, ...]
    optional_present: bool


def default_cache_dir(environment: Mapping[str, str] | None = None) -> Path:
    """The model cache: SCENEWRIGHT_MODEL_CACHE, else the Hugging Face cache as its own tools find it."""
    environment = os.environ if environment is None else environment
    for variable, inside in ((CACHE_VARIABLE, ""), ("HF_HUB_CACHE", ""), ("HF_HOME", "hub")):
        if environment.get(variable):
            return Path(environment[variable]) / inside
    return Path(environment.get("HOME", "~")).expanduser() / ".cache" / "huggingface" / "hub"


def weights_status(weights: Weights, cache_dir: Path, revision: str | None = None) -> WeightsStatus:
    """What ``cache_dir`` holds of ``weights``; looks at files only, opens no connection.

    Args:
        weights: what is looked for.
        cache_dir: the model cache; need not exist.
        revision: branch, tag or commit to use instead of ``weights.revision``.
    """
    found = _locate(cache_dir, weights, revision or weights.revision)
    if found is None:
        return WeightsStatus("missing", None, "", 0, weights.required_files, False)
    folder, resolved = found
    unmatched = _unmatched(folder, weights.required_files)
    if unmatched and replace(weights, revision=revision or weights.revision).location.startswith("file:"):
        # Any folder may be named by mistake, also one with a million files: read nothing of it.
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
    """The status of weights that are completely there.

    Raises:
        MissingWeights: they are missing or partial; says what lacks and how to get it.
    """
    status = weights_status(weights, cache_dir, revision)
    if status.state != "present":
        wanted = replace(weights, revision=revision or weights.revision)
        raise MissingWeights(weights.id, wanted.revision, cache_dir, status.lacking, location=wanted.location)
    return status


def _locate(cache_dir: Path, weights: Weights, revision: str) -> tuple[Path, str] | None:
    """Folder and commit (empty for a plain folder) of a repository, None if neither layout has it."""
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
    # A revision comes from the spec: it may name a branch or a URI, not a path out of the repository.
    if reference.is_relative_to(repository / "refs") and ".." not in reference.parts and reference.is_file():
        return _existing(snapshots / reference.read_text(encoding="utf-8").strip())
    return None


def _existing(folder: Path) -> Path | None:
    return folder if folder.is_dir() else None


def _files(folder: Path) -> dict[str, int]:
    """Relative name and size of every readable file (not of dangling links in a broken cache)."""
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()
    }


def _unmatched(folder: Path, patterns: Iterable[str]) -> tuple[str, ...]:
    return tuple(pattern for pattern in patterns if not any(path.is_file() for path in folder.glob(pattern)))


def _missing_shards(folder: Path, files: Mapping[str, int]) -> tuple[str, ...]:
    """Shards that a ``*.safetensors.index.json`` names but that are not there."""
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
    """Tells two sets of weights apart without reading gigabytes: other weights differ at both ends of a file."""
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
    """Download what a backend needs into the Hugging Face cache layout below ``cache_dir``.

    The licence is not checked here. Gated weights need a token whose owner has accepted it.

    Args:
        weights: what to fetch.
        cache_dir: the model cache.
        revision: branch, tag or commit to use instead of ``weights.revision``.
        token: of the Hugging Face account.
        with_optional: also the optional files (for FLUX the text encoders, 10 GB).

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
    """Patterns of the files to download: the needed ones, with the indices of sharded ones, and no others."""
    indices = tuple(f"{pattern}.index.json" for pattern in weights.required_files if pattern.endswith(".safetensors"))
    return (*weights.required_files, *indices, *(weights.optional_files if with_optional else ()))
