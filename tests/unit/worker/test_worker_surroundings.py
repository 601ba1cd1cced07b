"""What a process arranges before its work: kernels that need no compiling, certificates where they are looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from scenewright_stages.worker.surroundings import arrange

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


def test_the_images_kernels_are_copied_where_numba_may_write(tmp_path: Path) -> None:
    image = tmp_path / "image"
    (image / "group").mkdir(parents=True)
    (image / "group" / "kernel.nbc").write_bytes(b"code")
    (image / "group" / "kernel.nbc").chmod(0o444)
    environment = {"SCENEWRIGHT_KERNEL_CACHE": str(image), "NUMBA_CACHE_DIR": str(tmp_path / "cache" / "numba")}
    arrange(environment, tmp_path)
    copied = tmp_path / "cache" / "numba" / "group" / "kernel.nbc"
    assert copied.read_bytes() == b"code" and copied.stat().st_mode & 0o200


def test_a_cache_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "image").mkdir()
    (tmp_path / "image" / "new").write_text("x")
    (tmp_path / "cache").mkdir()
    environment = {"SCENEWRIGHT_KERNEL_CACHE": str(tmp_path / "image"), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    arrange(environment, tmp_path)
    assert not list((tmp_path / "cache").iterdir())


@pytest.mark.parametrize("environment", [{}, {"SCENEWRIGHT_KERNEL_CACHE": "/nowhere", "NUMBA_CACHE_DIR": "/nowhere"}])
def test_without_compiled_kernels_nothing_happens(environment: dict[str, str], tmp_path: Path) -> None:
    before = dict(environment)
    arrange(environment, tmp_path)
    assert environment == before and not list(tmp_path.iterdir())


def test_certificates_given_as_text_become_a_file(tmp_path: Path) -> None:
    environment = {"AWS_CA_BUNDLE": PEM}
    arrange(environment, tmp_path)
    assert Path(environment["AWS_CA_BUNDLE"]).read_text() == PEM


def test_certificates_given_as_a_path_stay_so(tmp_path: Path) -> None:
    environment = {"AWS_CA_BUNDLE": "/etc/ssl/lab.pem"}
    arrange(environment, tmp_path)
    assert environment == {"AWS_CA_BUNDLE": "/etc/ssl/lab.pem"}
