"""The toy pipeline and a real S3 server for tests of whole worker processes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "support"))

from disk_fixtures import small_disk
from s3_fixtures import s3_bucket, s3_server
from toy_harness import Toy

__all__ = ["s3_bucket", "s3_server", "small_disk"]


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    """A job of three samples that notes every run of a sample's code."""
    job = Toy(tmp_path / "job")
    job.faults()
    return job
