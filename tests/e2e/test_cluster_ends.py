"""A whole cluster leaves nothing on the machine, however it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from availability import in_ci, unavailable

from cluster import Unavailable, containers, images, network, ownership, preflight, whole_cluster
from cluster.whole_cluster import FOLDER

# Alone: there is one such cluster on a machine.
pytestmark = [pytest.mark.slow, pytest.mark.serial, pytest.mark.node]

TOOL = Path(__file__).parents[2] / "tools" / "cluster"


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL], ids=lambda end: end.name)
def test_nothing_is_left_of_a_cluster(end: signal.Signals) -> None:
    try:
        if in_ci():
            preflight.install()
        preflight.require(FOLDER)
    except Unavailable as problem:
        unavailable("whole cluster", problem)
    assert ownership.owner(FOLDER) is None, "another cluster runs on this machine"
    before = traces()
    with subprocess.Popen([sys.executable, "-u", str(TOOL), "node"], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        lines = iter(owner.stdout)
        assert any(line.startswith("ready") for line in lines)
        assert traces() > before
        start_pod()
        owner.send_signal(end)
    deadline = time.monotonic() + 60
    while traces() != before:
        assert time.monotonic() < deadline, f"left: {traces() - before}"
        time.sleep(0.5)


def start_pod() -> None:
    """A Pod whose processes are nobody's children: they go on without a kubelet and without containerd."""
    target = whole_cluster.target(FOLDER)
    for _ in range(100):
        # Refused until the namespace's service account is there.
        with contextlib.suppress(RuntimeError):
            target.kubectl("run", "stays", f"--image={images.PAUSE}", "--image-pull-policy=Never")
            break
        time.sleep(0.2)
    target.kubectl("wait", "--for=condition=Ready", "pod/stays", "--timeout=60s")


def traces() -> set[str]:
    """What a cluster puts on a machine: processes, mounts, links, rules, control groups, files."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if bytes(FOLDER) in command:
                found.add(f"process {command!r}")
    mounts = Path("/proc/mounts").read_text().splitlines()
    found |= {f"mount {line}" for line in mounts if str(FOLDER) in line}
    found |= {f"link {path.name}" for path in Path("/sys/class/net").iterdir() if path.name == network.BRIDGE}
    rules = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout.splitlines()
    found |= {f"rule {line}" for line in rules if "KUBE" in line or network.POD_RANGE in line}
    found |= {f"cgroup {path}" for path in containers.CGROUP_ROOT.glob(f"**/{containers.CGROUP}")}
    return found | ({"folder"} if FOLDER.exists() else set())
