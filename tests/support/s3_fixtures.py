"""Fixtures with a real S3 server, and what happens where there is none."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from availability import unavailable

from cluster import Unavailable, storage
from cluster.binaries import binary


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[storage.StorageServer]:
    """A running versitygw. Where it cannot be built the test is skipped, but in CI it fails."""
    try:
        binary("versitygw")
    except Unavailable as problem:
        unavailable("versitygw", problem)
    with storage.running(tmp_path_factory.mktemp("versitygw")) as server:
        yield server


@pytest.fixture
def s3_bucket(s3_server: storage.StorageServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """A fresh bucket, with the environment set for it."""
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    bucket = f"test-{uuid.uuid4().hex[:12]}"
    client = s3_server.client()
    client.create_bucket(Bucket=bucket)
    return bucket
