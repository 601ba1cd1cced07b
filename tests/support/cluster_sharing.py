"""Which tests share a process when several run them, and when a shared control plane ends.

A file stays in one process, so that its fixtures are made once. The cluster's files share two processes, the longest
apart from the many short ones, for they mostly wait: a control plane takes half a minute to start, and a fifth of a
core while it idles. It ends with the last of these tests, and not with the process, as a fixture of the session does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from xdist.scheduler import LoadFileScheduling

CLUSTER = "tests/cluster/test_"
LONG = tuple(f"{CLUSTER}{name}" for name in ("faults_", "kueue", "toys_"))
"""About as long as all others together."""
_OPEN = pytest.StashKey[list[ExitStack]]()


class FilesAndTwoClusters(LoadFileScheduling):
    """As `--dist loadfile`, but the cluster's files are two units of work. They come first, each in a process."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        if file.startswith(LONG):
            return LONG[0]
        return CLUSTER if file.startswith(CLUSTER) else file


@contextmanager
def until_no_cluster_is_needed(config: pytest.Config) -> Iterator[ExitStack]:
    """A stack that is closed with the last test of the cluster in this process."""
    with ExitStack() as stack:
        config.stash.setdefault(_OPEN, []).append(stack)
        yield stack


def end_of_test(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Closes what is open if this was the last test of the cluster in this process."""
    if nextitem is None or not nextitem.nodeid.startswith(CLUSTER):
        for stack in item.config.stash.get(_OPEN, []):
            stack.close()
