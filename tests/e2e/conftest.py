"""Fixtures of whole jobs: a disk that can be filled, a real S3 server and a whole cluster."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from cluster_fixtures import cluster_with_operator, pytest_collection_modifyitems, whole_cluster
from disk_fixtures import small_disk
from s3_fixtures import s3_bucket, s3_server

__all__ = [
    "cluster_with_operator",
    "pytest_collection_modifyitems",
    "s3_bucket",
    "s3_server",
    "small_disk",
    "whole_cluster",
]
