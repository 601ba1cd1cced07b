"""Fixtures of whole jobs: a disk that can be filled and a real S3 server."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from disk_fixtures import small_disk
from s3_fixtures import s3_bucket, s3_server

__all__ = ["s3_bucket", "s3_server", "small_disk"]
