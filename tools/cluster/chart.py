"""Builds the project's images and installs its chart, for `make cluster` and the end-to-end tests."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import images
from .binaries import binary
from .containers import Containerd
from .problems import Unavailable

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "scenewright"
RELEASE = "scenewright"
NAMESPACE = "scenewright-system"
PREFIX = "localhost/scenewright/"


@dataclass(frozen=True)
class Target:
    """A cluster to install into."""

    kubeconfig: Path
    containerd: Containerd

    def helm(self, *arguments: str) -> str:
        """Runs helm as the administrator; returns its output.

        Raises:
            RuntimeError: it failed; the message has its error.
        """
        return self._run([str(binary("helm")), f"--kubeconfig={self.kubeconfig}", *arguments])

    def kubectl(self, *arguments: str, manifest: str = "") -> str:
        """Runs kubectl as the administrator with `manifest` on stdin; returns its output.

        Raises:
            RuntimeError: it failed; the message has its error.
        """
        return self._run([str(binary("kubectl")), f"--kubeconfig={self.kubeconfig}", *arguments], manifest)

    def _run(self, command: list[str], text: str = "") -> str:
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)[-200:]} failed: {done.stderr[-1500:]}")
        return done.stdout


def metrics_address(target: Target) -> str:
    """Address of the operator's metrics as ``host:port``, reachable from this host too."""
    output = "jsonpath={.spec.clusterIP}:{.spec.ports[0].port}"
    return target.kubectl("--namespace", NAMESPACE, "get", "service", f"{RELEASE}-metrics", "--output", output)


def build_images(
    tag: str, report: Callable[[str], None] = print, names: Sequence[str] = ("operator", "cpu")
) -> list[str]:
    """Builds images of the project on Debian's base with buildah; progress goes to stderr. Returns their full names.

    Args:
        tag: of the images.
        report: takes words for people.
        names: by default those without CUDA that the operator and its stages need: the node has no GPU, and CUDA is
            gigabytes large.

    Raises:
        Unavailable: the build failed; it has printed why.
    """
    variables = {"BASE_IMAGE": images.build_base(report), "PREFIX": PREFIX, "TAG": tag, "ENGINE": "buildah"}
    downloads = Path.home() / ".cache" / "uv"
    if downloads.is_dir():
        variables["UV_CACHE"] = str(downloads)
    report("building the images (minutes the first time)")
    command = [str(ROOT / "images" / "build"), *names]
    done = subprocess.run(command, env={**os.environ, **variables}, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise Unavailable("images/build failed (see above)")
    return done.stdout.split()


def install(
    target: Target, tag: str = "test", values: Sequence[str] = (), report: Callable[[str], None] = print
) -> None:
    """Builds the images, moves them to the node and installs or upgrades the chart; waits until it is ready.

    Args:
        values: more arguments for helm, for example ``--set metrics.annotations=true``.
    """
    identities = {name: images.move_to_node(name, target.containerd, report) for name in build_images(tag, report)}
    report("installing the chart")
    # New images under the same names must restart the operator's Pod.
    annotations = {"images": " ".join(sorted(identities.values()))}
    arguments = [
        *("upgrade", "--install", RELEASE, str(CHART), "--namespace", NAMESPACE, "--create-namespace"),
        *("--set", f"operator.image.repository={PREFIX}operator", "--set", f"operator.image.tag={tag}"),
        *("--set", f"stages.images.cpu.repository={PREFIX}cpu", "--set", f"stages.images.cpu.tag={tag}"),
        *("--set-json", f"operator.podAnnotations={json.dumps(annotations)}"),
        *("--wait", "--timeout", "120s"),
        *values,
    ]
    try:
        target.helm(*arguments)
    except RuntimeError as error:
        # Helm reports only the timeout, not what the Pod waits for.
        events = target.kubectl("--namespace", NAMESPACE, "get", "events", "--field-selector", "type=Warning")
        raise RuntimeError(f"{error}\n{events[-1500:]}") from error
