"""Which tests share a process when several processes run them.

A file stays in one process, so that its fixtures are made once. All files of the cluster stay in one, too: a control
plane takes half a minute to start and half a core of the two while it idles.
"""

from __future__ import annotations

from xdist.scheduler import LoadFileScheduling

CLUSTER = "tests/cluster"


class FilesAndOneCluster(LoadFileScheduling):
    """As `--dist loadfile`, but the cluster's files are one unit of work."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return CLUSTER if file.startswith(f"{CLUSTER}/") else file
