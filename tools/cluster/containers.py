"""containerd for the node: its configuration, its images, and the cleanup of everything that it runs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from . import network
from .preflight import CNI_PLUGINS
from .processes import Component, ProcessGroup

CGROUP = "scenewright-test"
"""Parent of the cgroups of all Pods."""
CGROUP_ROOT = Path("/sys/fs/cgroup")


class Containerd:
    """A container runtime of our own.

    Args:
        folder: sockets and runtime state.
        store: images and snapshots; may outlive the cluster, so that images are imported only once.
        pause_image: name of the image that holds a Pod's namespaces.
    """

    def __init__(self, folder: Path, store: Path, pause_image: str) -> None:
        self.folder = folder
        self.socket = folder / "containerd.sock"
        self.store = store
        self._pause_image = pause_image

    def start(self, group: ProcessGroup) -> Component:
        """Starts it and waits until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        network.write_plugin_configuration(self.folder / "cni", self.folder / "addresses")
        file = self.folder / "config.toml"
        file.write_text(self._configuration())
        component = group.start("containerd", ["containerd", "--config", file])
        self._await(component)
        if self._remove_containers():
            # It has already read the removed containers of an earlier cluster: restart it.
            component.stop()
            component.start()
            self._await(component)
        return component

    def image_identity(self, name: str) -> str:
        """The digest of an image in the store; empty if missing."""
        lines = self._ctr("images", "list", f"name=={name}").stdout.splitlines()[1:]
        return lines[0].split()[2] if lines else ""

    def import_image(self, archive: IO[bytes]) -> None:
        """Imports an archive in Docker's or OCI's format."""
        done = self._ctr("images", "import", "--compress-blobs=false", "-", standard_input=archive)
        if done.returncode != 0:
            raise RuntimeError(f"ctr images import: {done.stderr[-500:]}")

    def _remove_containers(self) -> int:
        """Removes containers of an earlier cluster, whose processes have ended; returns their number."""
        names = self._ctr("containers", "list", "-q").stdout.split()
        if names:
            self._ctr("tasks", "delete", "--force", *names)
            self._ctr("containers", "delete", *names)
        return len(names)

    def _await(self, component: Component) -> None:
        component.wait_until(lambda: self._ctr("version").returncode == 0, 30)

    def _ctr(self, *arguments: str, standard_input: IO[bytes] | None = None) -> subprocess.CompletedProcess[str]:
        command = ["ctr", "--address", str(self.socket), "--namespace", "k8s.io", *arguments]
        return subprocess.run(command, stdin=standard_input, capture_output=True, text=True, check=False)

    def _configuration(self) -> str:
        settings = {
            # Containers and small virtual machines often lack CAP_SYS_RESOURCE.
            "restrict_oom_score_adj": True,
            "sandbox_image": self._pause_image,
            # Keep network namespace mounts in the folder, where the cleanup finds them.
            "netns_mounts_under_state_dir": True,
        }
        lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
        return "\n".join(
            [
                "version = 2",
                f'root = "{self.store}"',
                f'state = "{self.folder / "state"}"',
                "[grpc]",
                f'address = "{self.socket}"',
                '[plugins."io.containerd.grpc.v1.cri"]',
                *lines,
                '[plugins."io.containerd.grpc.v1.cri".cni]',
                f'bin_dir = "{CNI_PLUGINS}"',
                f'conf_dir = "{self.folder / "cni"}"',
                "",
            ]
        )


def make_cgroups() -> None:
    """Creates the parent cgroup of all Pods, in every hierarchy."""
    for hierarchy in _hierarchies():
        (hierarchy / CGROUP).mkdir(exist_ok=True)
    cpuset = CGROUP_ROOT / "cpuset" / CGROUP
    # In cgroup v1, a new cpuset has no processors and no memory nodes: copy the parent's.
    for name in ("cpuset.cpus", "cpuset.mems"):
        if (cpuset / name).exists() and not (cpuset / name).read_text().strip():
            (cpuset / name).write_text((cpuset.parent / name).read_text())


def end_all_pods(folder: Path) -> None:
    """Kills every process of every Pod and their shims, and removes cgroups and mounts; safe to repeat."""
    deadline = time.monotonic() + 20
    while (left := [*_processes_in_cgroups(), *_shims(folder)]) and time.monotonic() < deadline:
        for number in left:
            _kill(number)
        time.sleep(0.1)
    _unmount_below(folder)
    for hierarchy in _hierarchies():
        for path, _, _ in os.walk(hierarchy / CGROUP, topdown=False):
            # Only processes prevent the removal of a cgroup, and those are gone.
            Path(path).rmdir()


def remove_traces(folder: Path) -> None:
    """Removes what runtime and kubelet leave outside of `folder`. No cluster may be running."""
    for link in Path("/var/log/containers").glob("*"):
        if link.is_symlink() and link.readlink().is_relative_to(folder):
            link.unlink()
    for result in Path("/var/lib/cni/results").glob(f"{network.NAME}-*"):
        result.unlink()
    for path in Path("/run/containerd/s").glob("*"):
        if not _has_listener(path):
            path.unlink()


def _has_listener(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
        except OSError:
            return True
    return True


def _hierarchies() -> list[Path]:
    if (CGROUP_ROOT / "cgroup.controllers").exists():
        return [CGROUP_ROOT]
    return [path for path in CGROUP_ROOT.iterdir() if path.is_dir() and not path.is_symlink()]


def _processes_in_cgroups() -> Iterable[int]:
    found: set[int] = set()
    for hierarchy in _hierarchies():
        for file in (hierarchy / CGROUP).rglob("cgroup.procs"):
            found |= {int(line) for line in file.read_text().split()}
    return found


def _shims(folder: Path) -> Iterable[int]:
    """The shim processes of containers, found by containerd's socket in their command. They outlive containerd."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if b"containerd-shim" in command.split(b"\0")[0] and bytes(folder) in command:
            yield int(entry.name)


def _kill(number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(number, signal.SIGKILL)


def _unmount_below(folder: Path) -> None:
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    inside = [path for path in mounts if Path(path).is_relative_to(folder)]
    for path in reversed(inside):
        subprocess.run(["umount", "--lazy", path], capture_output=True, check=False)
