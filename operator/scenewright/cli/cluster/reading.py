"""Reads object storage for commands, through a process of the data plane, which has the storage libraries."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from scenewright.api.raw import RawJson
from scenewright.api.status import read_status
from scenewright.cli.cluster.access import Cluster
from scenewright.planning.lab import in_status, storage_secret
from scenewright.planning.problems import Problem, SpecError
from scenewright_stages.contract.layout import STORAGE_KEYS

READER_MODULE = "scenewright_stages.store.reading"


class StorageError(Exception):
    """The storage could not be read; the message is one line."""


def storage_environment(cluster: Cluster, raw: RawJson, use_secret: bool) -> dict[str, str]:
    """The environment of the reader: the user's own, optionally with the keys of the object's Secret.

    Raises:
        ClusterError: the user may not read the Secret.
        SpecError: the object has no Secret.
    """
    if not use_secret:
        return dict(os.environ)
    name = storage_secret(raw["spec"], in_status(read_status(raw.get("status") or {})))
    if not name:
        raise SpecError([Problem("spec.storage.secretName", "", "is empty: leave out --use-secret")])
    held = cluster.secret(name)
    # The user's own variables override the Secret, for example with an endpoint that is reachable from here.
    return {**{key: held[key] for key in STORAGE_KEYS if key in held}, **os.environ}


def reader_command(*arguments: str) -> list[str]:
    """The command line of the reader.

    Raises:
        StorageError: the data plane's libraries are not installed here.
    """
    if importlib.util.find_spec("boto3") is None:
        raise StorageError("reading object storage needs the data plane: pip install 'scenewright[stages]'")
    return [sys.executable, "-m", READER_MODULE, *arguments]


def copy_object(uri: str, target: Path, environment: Mapping[str, str]) -> None:
    """Copies an object from the storage to a local file.

    Raises:
        StorageError: the object cannot be read.
    """
    command = reader_command("copy", uri, str(target))
    done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise StorageError(last_line(done.stderr))


def last_line(text: str) -> str:
    """The error message in a failed reader's output."""
    lines = text.strip().splitlines()
    return lines[-1] if lines else "the storage could not be read"
