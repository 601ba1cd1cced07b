"""Builds the binaries of the test environments from the Go module proxy, once, into the user's cache.

A project's binaries are in ``<cache>/<project>-<version>/``; a lock file protects them from concurrent builds.
"""

from __future__ import annotations

import fcntl
import json
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .problems import Unavailable
from .toolchain import cache_folder, environment, go

KUBERNETES = "1.34.4"
STRIPPED = "-s -w"


@dataclass(frozen=True)
class Project:
    """One version of a project and its programs.

    Attributes:
        build: builds the wanted programs into the project's folder.
    """

    name: str
    version: str
    programs: tuple[str, ...]
    build: Callable[[Path, Sequence[str]], None]

    @property
    def folder(self) -> Path:
        """Folder of the binaries."""
        return cache_folder() / f"{self.name}-{self.version}"


def binary(name: str) -> Path:
    """Path of a program; builds it if it is missing.

    Raises:
        Unavailable: the toolchain or the sources are not available.
    """
    return binaries(name)[name]


def binaries(*names: str) -> dict[str, Path]:
    """Paths of several programs; builds the missing ones of a project together.

    Raises:
        Unavailable: the toolchain or the sources are not available.
    """
    paths: dict[str, Path] = {}
    for project in PROJECTS:
        wanted = [name for name in names if name in project.programs]
        if wanted:
            _ensure(project, wanted)
            paths |= {name: project.folder / name for name in wanted}
    if unknown := set(names) - set(paths):
        raise ValueError(f"unknown programs: {sorted(unknown)}")
    return paths


def missing(*names: str) -> list[str]:
    """The programs that are not in the cache yet."""
    return [name for name in names for project in PROJECTS if name in project.programs and not _has(project, name)]


def _has(project: Project, name: str) -> bool:
    return (project.folder / name).exists()


def _ensure(project: Project, wanted: Sequence[str]) -> None:
    if all(_has(project, name) for name in wanted):
        return
    project.folder.mkdir(parents=True, exist_ok=True)
    with (project.folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        absent = [name for name in wanted if not _has(project, name)]
        if absent:
            project.build(project.folder, absent)


def _install(package: str, flags: Sequence[str], folder: Path, wanted: Sequence[str]) -> None:
    """Runs ``go install`` for a main package without replace directives; `package` ends with ``@version``."""
    del wanted
    _run_go(["install", "-trimpath", f"-ldflags={STRIPPED}", *flags, package], folder, folder)


def _build_etcd(version: str, folder: Path, wanted: Sequence[str]) -> None:
    """Builds our own main around etcd's library, since ``go install`` refuses modules with replace directives."""
    del wanted
    with tempfile.TemporaryDirectory() as scratch:
        module = Path(scratch)
        (module / "go.mod").write_text(
            f"module scenewright.io/etcd\n\ngo 1.24\n\nrequire go.etcd.io/etcd/server/v3 v{version}\n"
        )
        (module / "main.go").write_text(
            'package main\n\nimport (\n\t"os"\n\n\t"go.etcd.io/etcd/server/v3/etcdmain"\n)\n\n'
            "func main() { etcdmain.Main(os.Args) }\n"
        )
        _build_in(module, folder, STRIPPED, ["."])


def _build_kubernetes(folder: Path, wanted: Sequence[str]) -> None:
    """Builds main packages of k8s.io/kubernetes from a module that replaces its staging modules, as a release does."""
    with tempfile.TemporaryDirectory() as scratch:
        module = Path(scratch)
        (module / "go.mod").write_text(_kubernetes_module(module))
        _build_in(module, folder, _kubernetes_flags(), [f"k8s.io/kubernetes/cmd/{name}" for name in wanted])


def _kubernetes_module(folder: Path) -> str:
    requirement = f"k8s.io/kubernetes@v{KUBERNETES}"
    downloaded = json.loads(_run_go(["mod", "download", "-json", requirement], folder, folder))
    requires = json.loads(_run_go(["mod", "edit", "-json", downloaded["GoMod"]], folder, folder))["Require"]
    # Staging modules, which live in the kubernetes repository, have this version.
    staging = [entry["Path"] for entry in requires if entry["Version"] == "v0.0.0"]
    version = f"v0{KUBERNETES[1:]}"
    replaces = "\n".join(f"replace {path} => {path} {version}" for path in staging)
    return (
        f"module scenewright.io/test/kubernetes\n\ngo 1.24.0\n\nrequire k8s.io/kubernetes v{KUBERNETES}\n\n{replaces}\n"
    )


def _kubernetes_flags() -> str:
    major, minor, _ = KUBERNETES.split(".")
    values = {"gitVersion": f"v{KUBERNETES}", "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    settings = [f"-X {package}.{key}={value}" for package in packages for key, value in values.items()]
    return " ".join([STRIPPED, *settings])


def _build_in(module: Path, folder: Path, flags: str, packages: Sequence[str]) -> None:
    # Build in a temporary folder and move: a killed process must not leave a partial binary.
    with tempfile.TemporaryDirectory(dir=folder) as built:
        _run_go(["build", "-mod=mod", "-trimpath", "-ldflags", flags, "-o", f"{built}/", *packages], module, folder)
        for path in Path(built).iterdir():
            path.rename(folder / path.name)


def _run_go(arguments: Sequence[str], module: Path, folder: Path) -> str:
    done = subprocess.run(
        [str(go()), *arguments], cwd=module, env=environment(folder), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise Unavailable(f"go {' '.join(arguments)[:80]} failed: {done.stderr[-500:]}")
    return done.stdout


PROJECTS = (
    Project("etcd", "3.6.7", ("etcd",), partial(_build_etcd, "3.6.7")),
    Project(
        "kubernetes",
        KUBERNETES,
        ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kubelet", "kube-proxy"),
        _build_kubernetes,
    ),
    Project(
        "crane", "0.22.1", ("crane",), partial(_install, "github.com/google/go-containerregistry/cmd/crane@v0.22.1", ())
    ),
    Project("kwok", "0.8.0", ("kwok",), partial(_install, "sigs.k8s.io/kwok/cmd/kwok@v0.8.0", ())),
    Project("helm", "3.22.0", ("helm",), partial(_install, "helm.sh/helm/v3/cmd/helm@v3.22.0", ())),
    Project("coredns", "1.12.4", ("coredns",), partial(_install, "github.com/coredns/coredns@v1.12.4", ())),
    Project(
        "versitygw", "1.8.0", ("versitygw",), partial(_install, "github.com/versity/versitygw/cmd/versitygw@v1.8.0", ())
    ),
)
"""Everything that the environments run, except Debian packages."""

CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kwok")
"""Programs of :class:`~.control_plane.ControlPlane`, and kubectl."""

WHOLE_CLUSTER = (*CONTROL_PLANE[:-1], "kubelet", "kube-proxy", "coredns", "helm", "versitygw")
"""Programs of the one-node cluster."""


def build(names: Sequence[str], report: Callable[[str], None] = print) -> None:
    """Builds the missing programs of `names`, all of a project together."""
    for project in PROJECTS:
        wanted = [name for name in names if name in project.programs]
        if absent := [name for name in wanted if not _has(project, name)]:
            report(f"building {', '.join(absent)} ({project.name} {project.version})")
            _ensure(project, absent)
