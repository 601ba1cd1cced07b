"""Fixtures with a real S3 server, and what happens where there is none."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import boto3
import pytest
import versitygw


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[versitygw.Server]:
    """A running versitygw. Where it cannot be built the test is skipped, but in CI it fails."""
    try:
        versitygw.binary()
    except versitygw.Unavailable as problem:
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail(f"versitygw is not available: {problem}")
        pytest.skip(f"versitygw is not available: {problem}")
    with versitygw.running(tmp_path_factory.mktemp("versitygw")) as server:
        yield server


@pytest.fixture
def s3_bucket(s3_server: versitygw.Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """A fresh bucket, with the environment set for it."""
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    bucket = f"test-{uuid.uuid4().hex[:12]}"
    client = boto3.client(
        "s3",
        endpoint_url=s3_server.endpoint,
        aws_access_key_id=s3_server.access_key,
        aws_secret_access_key=s3_server.secret_key,
        region_name="us-east-1",
    )
    client.create_bucket(Bucket=bucket)
    return bucket
