"""Pushes images and chart to an OCI registry: ``python tools/release.py registry.lab/scenewright``.

Builds the images on a base pinned by digest, or takes them from a folder of archives (``--archives``). The chart goes
to ``REGISTRY/charts``. Its values pin every image by digest, so that an install runs exactly what was released.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from cluster.binaries import binary
from cluster.problems import Unavailable
from scenewright_stages.contract.pipeline import IMAGES

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "charts" / "scenewright"
DEFAULT_BASE = "python:3.11-slim-bookworm"


class ReleaseError(RuntimeError):
    """A step failed; the message is its command's error."""


def main(arguments: list[str] | None = None) -> int:
    """Releases; returns the exit code."""
    parser = argparse.ArgumentParser(description="Puts images and chart into an OCI registry.")
    parser.add_argument("registry", help="with a path, such as registry.lab/scenewright")
    parser.add_argument("--archives", type=Path, help="folder of ARCHIVES that images/build wrote; default: build them")
    parser.add_argument("--plain-http", action="store_true", help="for a registry without TLS")
    options = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            archives = options.archives or build(Path(scratch))
            for line in release(options.registry.rstrip("/"), archives, plain_http=options.plain_http):
                print(line)
    except (ReleaseError, Unavailable) as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    return 0


def build(folder: Path) -> Path:
    """Builds all images on a base pinned by digest; returns the folder with their archives."""
    base = os.environ.get("BASE_IMAGE", DEFAULT_BASE)
    if "@" not in base:
        base = f"{base}@{_run(str(binary('crane')), 'digest', base)}"
    done = subprocess.run(
        [str(ROOT / "images" / "build")],
        env={**os.environ, "BASE_IMAGE": base, "ARCHIVES": str(folder)},
        stdout=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode != 0:
        raise ReleaseError("images/build failed (see above)")
    return folder


def release(registry: str, archives: Path, *, plain_http: bool = False) -> list[str]:
    """Pushes images and chart; returns what was pushed, each with its digest.

    Args:
        registry: with the path for the images.
        archives: folder with ``NAME.tar`` of every image.
        plain_http: without TLS.

    Raises:
        ReleaseError: an archive is missing, or the registry refuses.
    """
    version = str(yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"])
    names = ("operator", *IMAGES, "lab")
    if absent := [name for name in names if not (archives / f"{name}.tar").is_file()]:
        raise ReleaseError(f"{archives} has no archive of: {', '.join(absent)}")
    crane = [str(binary("crane")), *(["--insecure"] if plain_http else [])]
    pushed = {
        name: _run(*crane, "push", str(archives / f"{name}.tar"), f"{registry}/{name}:{version}") for name in names
    }
    digests = {name: reference.rpartition("@")[2] for name, reference in pushed.items()}
    return [*pushed.values(), _push_chart(registry, digests, plain_http=plain_http)]


def _push_chart(registry: str, digests: dict[str, str], *, plain_http: bool) -> str:
    helm = str(binary("helm"))
    with tempfile.TemporaryDirectory() as scratch:
        chart = Path(shutil.copytree(CHART, Path(scratch) / CHART.name))
        values = chart / "values.yaml"
        values.write_text(with_digests(values.read_text(), registry, digests))
        _run(helm, "package", str(chart), "--destination", scratch)
        (package,) = Path(scratch).glob("*.tgz")
        target = f"oci://{registry}/charts"
        _run(helm, "push", str(package), target, *(["--plain-http"] if plain_http else []))
        return f"{target}/{CHART.name}"


def with_digests(values: str, registry: str, digests: dict[str, str]) -> str:
    """The chart's values with every image from the registry, pinned by digest; keeps comments.

    Raises:
        ReleaseError: the values do not name an image in the expected form.
    """
    for name, digest in digests.items():
        before, found, after = values.partition(f"repository: docker.io/scenewright/{name}")
        # An image's digest is the first one after its repository.
        between, empty, rest = after.partition('digest: ""')
        if not found or not empty or "repository:" in between:
            raise ReleaseError(f"values.yaml does not name the image {name} with an empty digest after it")
        values = f'{before}repository: {registry}/{name}{between}digest: "{digest}"{rest}'
    return values


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ReleaseError(f"{Path(command[0]).name} {command[1]}: {(done.stderr or done.stdout).strip()[-500:]}")
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
