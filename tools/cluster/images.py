"""Container images without a registry: Debian's base, the pause image, and the import from buildah into containerd."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from .containers import Containerd
from .problems import Unavailable
from .toolchain import environment, go

BASE = "localhost/scenewright-test/base:bookworm"
PAUSE = "localhost/scenewright-test/pause:1"
BASE_PACKAGES = ("ca-certificates", "libgomp1", "python3", "python3-pip", "python3-venv")
SUITE = "bookworm"
DEFAULT_MIRROR = "http://deb.debian.org/debian"
PAUSE_SOURCE = """package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	<-stop
}
"""


def build_base(report: Callable[[str], None] = print) -> str:
    """Builds Debian's image unless buildah has it; returns its name."""
    if not _has(BASE):
        report(f"building {BASE} by debootstrap")
        with tempfile.TemporaryDirectory() as scratch:
            root = Path(scratch) / "root"
            include = f"--include={','.join(BASE_PACKAGES)}"
            _run(["debootstrap", "--variant=minbase", include, SUITE, str(root), _mirror()])
            shutil.rmtree(root / "var/cache/apt/archives", ignore_errors=True)
            _commit(root, BASE, [])
    return BASE


def build_pause(report: Callable[[str], None] = print) -> str:
    """Builds the image that holds a Pod's namespaces unless buildah has it; returns its name."""
    if not _has(PAUSE):
        report(f"building {PAUSE}")
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            (folder / "main.go").write_text(PAUSE_SOURCE)
            (folder / "root").mkdir()
            command = [str(go()), "build", "-ldflags=-s -w", "-o", str(folder / "root/pause"), str(folder / "main.go")]
            _run(command, environment(folder))
            _commit(folder / "root", PAUSE, ["--entrypoint", '["/pause"]', "--user", "65535:65535"])
    return PAUSE


def move_to_node(name: str, containerd: Containerd, report: Callable[[str], None] = print) -> str:
    """Imports buildah's image into the node's containerd unless it is there already; returns its identity."""
    known = containerd.store.parent / "imported"
    known.mkdir(parents=True, exist_ok=True)
    marker = known / name.replace("/", "_")
    identity = _run(["buildah", "inspect", "--type", "image", "--format", "{{.FromImageID}}", name]).strip()
    if marker.exists() and marker.read_text() == f"{identity} {containerd.image_identity(name)}":
        return identity
    report(f"moving {name} to the node")
    # Stream the image in the one format that buildah does not compress: images are gigabytes large.
    with subprocess.Popen(
        ["buildah", "push", "--quiet", name, f"docker-archive:/dev/stdout:{name}"], stdout=subprocess.PIPE
    ) as push:
        assert push.stdout is not None
        containerd.import_image(push.stdout)
    if push.returncode != 0:
        raise RuntimeError(f"buildah push {name} failed")
    marker.write_text(f"{identity} {containerd.image_identity(name)}")
    return identity


def _has(name: str) -> bool:
    command = ["buildah", "inspect", "--type", "image", name]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _commit(root: Path, name: str, configuration: list[str]) -> None:
    container = _run(["buildah", "from", "scratch"]).strip()
    try:
        _run(["buildah", "add", "--quiet", container, str(root), "/"])
        if configuration:
            _run(["buildah", "config", *configuration, container])
        _run(["buildah", "commit", "--quiet", "--disable-compression", container, name])
    finally:
        _run(["buildah", "rm", container])


def _mirror() -> str:
    """The mirror in this machine's apt sources, since others may be unreachable."""
    for file in [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]:
        if not file.is_file():
            continue
        for line in file.read_text().splitlines():
            words = line.split()
            if words[:1] in (["URIs:"], ["deb"]):
                addresses = [word for word in words if word.startswith("http") and word.rstrip("/").endswith("/debian")]
                if addresses:
                    return addresses[0]
    return DEFAULT_MIRROR


def _run(command: list[str], variables: dict[str, str] | None = None) -> str:
    settings = {**(variables or os.environ), "BUILDAH_ISOLATION": "chroot"}
    done = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unavailable(f"{' '.join(command)[:200]} failed: {(done.stderr or done.stdout)[-500:]}")
    return done.stdout
