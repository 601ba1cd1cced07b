"""Checks what this machine lacks for a whole cluster, and installs missing Debian packages."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .problems import Unavailable

CNI_PLUGINS = Path("/usr/lib/cni")
FREE_GIB = 25
"""Images are rebuilt for each commit and unpacked twice; a build ran out of space with 18 GiB."""
CONTROLLERS = ("cpu", "cpuset", "memory", "pids")
PACKAGES = {
    "containerd": "containerd",
    "runc": "runc",
    "buildah": "buildah",
    str(CNI_PLUGINS / "bridge"): "containernetworking-plugins",
    "ip": "iproute2",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "debootstrap": "debootstrap",
    "prometheus": "prometheus",
    "openssl": "openssl",
}
"""Debian package of each program or file."""


@dataclass(frozen=True)
class Missing:
    """A missing requirement.

    Attributes:
        packages: Debian packages that provide it; empty if none does.
    """

    what: str
    packages: tuple[str, ...] = ()


def missing(folder: Path) -> list[Missing]:
    """Everything that this machine lacks for a whole cluster with its data in `folder`."""
    return [
        *(Missing(f"{tool} (Debian package {package})", (package,)) for tool, package in _absent_tools()),
        *(Missing(what) for what, holds in _conditions(folder).items() if not holds()),
    ]


def install(report: Callable[[str], None] = print) -> None:
    """Installs the missing Debian packages.

    Raises:
        Unavailable: apt-get failed, is missing, or needs root.
    """
    packages = sorted({package for _, package in _absent_tools()})
    if not packages:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise Unavailable(f"missing Debian packages: {' '.join(packages)} (root can install them with apt-get)")
    report(f"installing Debian packages: {' '.join(packages)}")
    for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *packages]):
        # RUNLEVEL=1 keeps maintainer scripts from starting system services.
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        done = subprocess.run(["apt-get", *command], env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Unavailable(f"apt-get {command[0]} failed: {done.stderr[-500:]}")


def require(folder: Path) -> None:
    """Raises `Unavailable` with everything that is missing."""
    if found := missing(folder):
        raise Unavailable("a whole cluster cannot run here; missing: " + "; ".join(entry.what for entry in found))


def _absent_tools() -> list[tuple[str, str]]:
    return [(tool, package) for tool, package in PACKAGES.items() if shutil.which(tool, path=_search_path()) is None]


def _search_path() -> str:
    # Not every user has Debian's root tools on PATH.
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def _conditions(folder: Path) -> dict[str, Callable[[], bool]]:
    return {
        "root": lambda: os.geteuid() == 0,
        f"cgroup controllers {', '.join(CONTROLLERS)}": _has_controllers,
        "overlayfs in the kernel": lambda: "\toverlay\n" in Path("/proc/filesystems").read_text(),
        "the right to make network namespaces and bridges": _may_make_networks,
        "a machine without another kubelet": lambda: not _has_kubelet(),
        f"{FREE_GIB} GiB of free space at {folder}": lambda: _free_gib(folder) >= FREE_GIB,
    }


def _has_controllers() -> bool:
    unified = Path("/sys/fs/cgroup/cgroup.controllers")
    if unified.exists():
        return set(CONTROLLERS) <= set(unified.read_text().split())
    return all(Path("/sys/fs/cgroup", name).is_dir() for name in CONTROLLERS)


def _may_make_networks() -> bool:
    if os.geteuid() != 0:
        return False
    probe = "ip link add swprobe type bridge && ip link del swprobe"
    return subprocess.run(["unshare", "--net", "sh", "-c", probe], capture_output=True, check=False).returncode == 0


def _has_kubelet() -> bool:
    for file in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            if file.read_text().strip() == "kubelet":
                return True
    return False


def _free_gib(folder: Path) -> float:
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(existing).free / 2**30
