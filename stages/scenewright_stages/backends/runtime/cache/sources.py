"""Sources of weights: the Hugging Face Hub, a mirror, or a folder or prefix with copies of repositories."""

from __future__ import annotations

import errno
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from scenewright_stages.backends.runtime.cache.weights import download_patterns
from scenewright_stages.backends.runtime.errors import MissingPackage
from scenewright_stages.contract.backends import Weights
from scenewright_stages.contract.errors import ConfigurationError, ScenewrightError
from scenewright_stages.store import StoreError, open_store

SOURCE_ENVIRONMENT = "SCENEWRIGHT_MODEL_SOURCE"
SOURCE_FIELD = "stages.modelCache.source"
"""Of the chart."""
LOCATION_FIELD = "revision"
"""Beside a backend in the spec."""
TOKEN_FIELD = "spec.models.tokenSecretName"

OnProgress = Callable[[float, str], None]
"""Called with the progress of a download (0 to 1) and the file."""


class FetchFailed(ScenewrightError):  # noqa: N818 - named after what happened
    """The download failed; a retry may succeed."""


class WeightSource(ABC):
    """Fetches one repository at a time."""

    @abstractmethod
    def fetch(self, weights: Weights, folder: Path, on_progress: OnProgress) -> str:
        """Fetches the weights' files into an empty folder; returns their commit, empty if the source has none.

        Also fetches optional files such as text encoders: an encoded empty prompt differs from no encoder at all.

        Raises:
            ConfigurationError: the repository does not exist, or access is denied.
            FetchFailed: network or storage failed; a retry may succeed.
        """


def source_of(uri: str, token: str | None) -> WeightSource:
    """The source of a URI: the Hub for an empty one, a mirror of it for http(s), a store for file:// and s3://."""
    if uri.startswith(("file://", "s3://")):
        return StoreSource(uri)
    if uri and not uri.startswith(("http://", "https://")):
        raise ConfigurationError(SOURCE_FIELD, uri, "must be the URL of a mirror of the Hub, file:///folder or s3://")
    return HubSource(uri.rstrip("/") or None, token)


def source_for(weights: Weights, otherwise: WeightSource) -> WeightSource:
    """The source of weights: the location that they name, or else the default source."""
    return StoreSource(weights.location, LOCATION_FIELD, of_one=True) if weights.location else otherwise


class StoreSource(WeightSource):
    """Copies of repositories as ``<organisation>/<name>/`` below a folder or prefix, or a single copy.

    Args:
        uri: of the folder or prefix.
        field: of the spec or chart that names it, for errors.
        of_one: whether it directly contains the files of a single repository.
    """

    def __init__(self, uri: str, field: str = SOURCE_FIELD, *, of_one: bool = False) -> None:
        self._uri, self._field, self._of_one = uri.rstrip("/"), field, of_one

    def fetch(self, weights: Weights, folder: Path, on_progress: OnProgress) -> str:
        """See the base class."""
        store = open_store(self._uri if self._of_one else f"{self._uri}/{weights.id}")
        patterns = download_patterns(weights, with_optional=True)
        try:
            found = [entry for entry in store.list() if any(fnmatch(entry.key, pattern) for pattern in patterns)]
            if not found:
                raise ConfigurationError(self._field, store.uri, f"holds no files of {weights.id}; copy them there")
            for number, entry in enumerate(found):
                on_progress(number / len(found), entry.key)
                target = folder / entry.key
                target.parent.mkdir(parents=True, exist_ok=True)
                store.get_file(entry.key, target)
        except StoreError as problem:
            _raise_if_full(problem.__cause__)
            raise FetchFailed(str(problem)) from problem
        return ""


class HubSource(WeightSource):
    """The Hugging Face Hub, or a compatible mirror.

    Args:
        endpoint: of the mirror; None for the Hub itself.
        token: of an account that has accepted the licences of gated weights.
    """

    def __init__(self, endpoint: str | None, token: str | None) -> None:
        self._endpoint, self._token = endpoint, token

    def fetch(self, weights: Weights, folder: Path, on_progress: OnProgress) -> str:
        """See the base class; the client verifies files with a known SHA-256."""
        try:
            import huggingface_hub
            from huggingface_hub import errors as hub_errors
        except ModuleNotFoundError as error:
            raise MissingPackage(SOURCE_FIELD, weights.id, "huggingface_hub", "diffusion") from error
        try:
            return self._download(huggingface_hub, weights, folder, on_progress)
        except hub_errors.GatedRepoError as problem:
            remedy = f"{weights.id} is gated: accept its licence at {weights.licence_url} with the token's account"
            raise ConfigurationError(TOKEN_FIELD, "a token" if self._token else "", remedy) from problem
        except (hub_errors.RepositoryNotFoundError, hub_errors.RevisionNotFoundError) as problem:
            wanted = f"{weights.id}@{weights.revision}"
            raise ConfigurationError(
                SOURCE_FIELD, self._endpoint or "", f"has no {wanted} for this account"
            ) from problem
        except Exception as problem:
            # The client's transport errors differ between its releases.
            _raise_if_full(problem)
            raise FetchFailed(f"{weights.id}: {problem}") from problem

    def _download(self, hub: Any, weights: Weights, folder: Path, on_progress: OnProgress) -> str:
        api = hub.HfApi(endpoint=self._endpoint, token=self._token or False)
        info = api.repo_info(weights.id, revision=weights.revision, repo_type=weights.repository_type)
        on_progress(0.0, f"{weights.id} at {info.sha}")
        hub.snapshot_download(
            weights.id,
            repo_type=weights.repository_type,
            revision=info.sha,
            local_dir=folder,
            allow_patterns=list(download_patterns(weights, with_optional=True)),
            token=self._token or False,
            endpoint=self._endpoint,
        )
        shutil.rmtree(folder / ".cache", ignore_errors=True)
        return str(info.sha)


def _raise_if_full(problem: BaseException | None) -> None:
    """Raises a permanent error if the volume is full, since a retry would not help."""
    if isinstance(problem, OSError) and problem.errno in (errno.ENOSPC, errno.EDQUOT):
        raise problem
