"""What a machine lacks is said exactly, tests skip for it only outside of CI, and one cluster runs at a time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from availability import unavailable

from cluster import Unavailable, ownership, preflight

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without any tool."""
    monkeypatch.setattr(preflight, "_search_path", lambda: "/nonexistent")


def test_missing_tools_are_named_with_their_packages(bare: None, tmp_path: Path) -> None:
    found = {package for entry in preflight.missing(tmp_path) for package in entry.packages}
    assert {"containerd", "runc", "buildah", "iptables", "debootstrap", "prometheus"} <= found
    with pytest.raises(Unavailable, match=r"missing: containerd \(Debian package containerd\); runc"):
        preflight.require(tmp_path)


def test_other_users_than_root_are_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bare: None) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "root" in {entry.what for entry in preflight.missing(tmp_path)}
    with pytest.raises(Unavailable, match="root can install them"):
        preflight.install()


def test_a_full_disk_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(preflight, "FREE_GIB", 0)
    assert not [entry for entry in preflight.missing(tmp_path) if "GiB" in entry.what]
    monkeypatch.setattr(preflight, "FREE_GIB", 10**6)
    (entry,) = [entry for entry in preflight.missing(tmp_path / "not" / "there") if "GiB" in entry.what]
    assert entry.what == f"1000000 GiB of free space at {tmp_path / 'not' / 'there'}"


def test_nothing_is_skipped_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no cluster: because"):
        unavailable("cluster", Unavailable("because"))
    monkeypatch.setenv("CI", "")
    with pytest.raises(pytest.skip.Exception, match="no cluster: because"):
        unavailable("cluster", Unavailable("because"))


def test_one_process_owns_the_cluster_until_it_ends(tmp_path: Path) -> None:
    folder = tmp_path / "cluster"
    assert ownership.owner(folder) is None
    script = (
        "import sys; from pathlib import Path; from cluster import ownership\n"
        "with ownership.claimed(Path(sys.argv[1])):\n    print('mine', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(TOOLS)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"mine\n"
        assert ownership.owner(folder) == other.pid
        with pytest.raises(Unavailable, match="another cluster runs"), ownership.claimed(folder):
            pass
        assert ownership.owner(folder) == other.pid
        other.kill()
    assert ownership.owner(folder) is None
    with ownership.claimed(folder):
        assert ownership.owner(folder) == os.getpid()
