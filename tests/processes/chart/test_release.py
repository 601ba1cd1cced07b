"""A release into a registry of this machine: images by digest, and a chart that names them so."""

from __future__ import annotations

import socket
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from availability import unavailable
from chart_rendering import CHART

import release
from cluster.binaries import binary
from cluster.problems import Unavailable
from scenewright_stages.contract.pipeline import IMAGES

NAMES = ("operator", *IMAGES)


@pytest.fixture(scope="module")
def crane() -> str:
    try:
        return str(binary("crane"))
    except Unavailable as problem:
        unavailable("crane", problem)


@pytest.fixture(scope="module")
def registry(crane: str) -> Iterator[str]:
    """Address of an empty registry."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with subprocess.Popen([crane, "registry", "serve", "--address", address], stderr=subprocess.DEVNULL) as process:
        try:
            until_it_listens(address)
            yield address
        finally:
            process.terminate()


def until_it_listens(address: str) -> None:
    host, _, port = address.partition(":")
    for _attempt in range(600):
        with socket.socket() as probe:
            if probe.connect_ex((host, int(port))) == 0:
                return
        time.sleep(0.1)
    pytest.fail("the registry did not start within a minute")


@pytest.fixture
def archives(crane: str, tmp_path: Path) -> Path:
    """An image of one file for each name, as images/build writes them."""
    for name in NAMES:
        content, layer = tmp_path / "name", tmp_path / "layer.tar"
        content.write_text(name)
        with tarfile.open(layer, "w") as packed:
            packed.add(content, "name")
        target = tmp_path / f"{name}.tar"
        subprocess.run(
            [crane, "append", "--new_layer", layer, "--new_tag", f"lab/{name}:1", "--output", target],
            check=True,
            capture_output=True,
        )
    return tmp_path


def test_a_released_chart_names_the_images_that_were_pushed(registry: str, archives: Path, crane: str) -> None:
    told = release.release(f"{registry}/lab", archives, plain_http=True)
    assert told[-1] == f"oci://{registry}/lab/charts/scenewright"
    helm = str(binary("helm"))
    shown = subprocess.run([helm, "show", "values", told[-1], "--plain-http"], capture_output=True, check=True)
    values = yaml.safe_load(shown.stdout)
    named = {"operator": values["operator"]["image"], **values["stages"]["images"]}
    assert set(named) == set(NAMES)
    for name, image in named.items():
        reference = f"{image['repository']}@{image['digest']}"
        assert reference in told
        exported = subprocess.run([crane, "export", reference, "-"], capture_output=True, check=True).stdout
        assert name.encode() in exported, "the digest is that of this very image"
    rendered = subprocess.run(
        [helm, "template", "scenewright", told[-1], "--plain-http", "--kube-version", "1.33.0"],
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    assert f"{registry}/lab/operator@sha256:" in rendered


def test_comments_and_everything_else_of_the_values_stay() -> None:
    before = (CHART / "values.yaml").read_text()
    after = release.with_digests(before, "registry.lab/x", dict.fromkeys(NAMES, f"sha256:{'a' * 64}"))
    changed = [pair for pair in zip(before.splitlines(), after.splitlines(), strict=True) if pair[0] != pair[1]]
    assert len(changed) == len(NAMES) + 1, "the operator's image has two lines"
    with pytest.raises(release.ReleaseError, match="image cpu"):
        release.with_digests(after, "registry.lab/x", {"cpu": "sha256:b"})


def test_an_archive_that_is_missing_is_named(tmp_path: Path, crane: str) -> None:
    with pytest.raises(release.ReleaseError, match="no archive of: operator, cpu"):
        release.release("127.0.0.1:1/lab", tmp_path)
