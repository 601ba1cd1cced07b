"""Fixtures of a control plane and of an S3 server."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from cluster_fixtures import control_plane, namespace
from released_plane import released_plane

__all__ = ["control_plane", "namespace", "released_plane"]
