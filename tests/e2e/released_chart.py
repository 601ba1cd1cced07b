"""The chart and the images of an earlier commit, to be upgraded from on the one-node cluster."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from cluster import chart, images
from cluster.chart import Target
from cluster.problems import Unavailable

COMMIT = "7a6e18e"
"""Its stages run one image, `scene`; stored defaults changed its keys."""
PREFIX = "localhost/scenewright-released/"
BUNDLED = ("stages/scenewright_stages/report/assets",)
"""Folders with files that `make setup` makes."""
# That commit's code on the present libraries: its own would be gigabytes, and its stages need nothing newer.
DOCKERFILE = f"""
FROM {chart.PREFIX}cpu:test
USER 0:0
COPY wheels/ /opt/wheels/
RUN cd /opt/scenewright/lib/python3*/site-packages \\
    && rm -rf scenewright scenewright_stages scenewright-*.dist-info \\
    && python -m zipfile -e /opt/wheels/scenewright-*.whl .
USER 65532:65532
"""


@contextlib.contextmanager
def released_chart(folder: Path, target: Target) -> Iterator[list[str]]:
    """Brings the images to the node; the arguments of helm that install or upgrade to that chart.

    Raises:
        Unavailable: the commit is not in this clone, or its images cannot be built.
    """
    checkout = folder / "released"
    _run(["git", "-C", str(chart.ROOT), "worktree", "add", "--detach", str(checkout), COMMIT])
    try:
        _build(checkout)
        for name in ("operator", "scene"):
            images.move_to_node(f"{PREFIX}{name}:{COMMIT}", target.containerd)
        yield [
            *("upgrade", "--install", chart.RELEASE, str(checkout / "charts" / "scenewright")),
            *("--namespace", chart.NAMESPACE, "--create-namespace", "--wait", "--timeout", "120s"),
            *("--set", f"operator.image.repository={PREFIX}operator", "--set", f"operator.image.tag={COMMIT}"),
            *("--set", f"stages.images.scene.repository={PREFIX}scene", "--set", f"stages.images.scene.tag={COMMIT}"),
        ]
    finally:
        _run(["git", "-C", str(chart.ROOT), "worktree", "remove", "--force", str(checkout)])


def _build(checkout: Path) -> None:
    for bundled in BUNDLED:
        for path in (chart.ROOT / bundled).iterdir():
            if path.is_file() and not (checkout / bundled / path.name).exists():
                shutil.copy(path, checkout / bundled)
    variables = {"BASE_IMAGE": images.build_base(), "PREFIX": PREFIX, "TAG": COMMIT, "ENGINE": "buildah"}
    # That commit's recipes take uv from the host.
    variables["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    downloads = Path.home() / ".cache" / "uv"
    if downloads.is_dir():
        variables["UV_CACHE"] = str(downloads)
    _run([str(checkout / "images" / "build"), "operator"], variables)
    context = checkout / "out" / "images" / "context"
    (context / "Dockerfile").write_text(DOCKERFILE)
    _run(["buildah", "build", "--quiet", "--layers", "--tag", f"{PREFIX}scene:{COMMIT}", str(context)])


def _run(command: list[str], variables: dict[str, str] | None = None) -> None:
    environment = {**os.environ, "BUILDAH_ISOLATION": "chroot", **(variables or {})}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unavailable(f"{' '.join(command)[:200]} failed: {done.stderr[-1000:]}")
