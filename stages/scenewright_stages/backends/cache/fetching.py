"""Downloading weights for ``scenewright models --fetch``, and which files of a repository a download needs.

The ``models`` step of a job fills the cache by :mod:`.filling` instead. Stages never download: they have
neither a token nor a network.
"""

from __future__ import annotations

from pathlib import Path

from scenewright_stages.backends.cache.weights import WeightsStatus, require_weights
from scenewright_stages.backends.errors import MissingPackage
from scenewright_stages.contract.backends import Weights


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
