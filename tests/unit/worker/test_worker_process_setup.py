"""What a process sets up before its work: compiled kernels, certificates, its scratch folder and its memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scenewright_stages.worker.process.process_setup import PREFIX, make_scratch, prepare_environment

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


def test_the_images_kernels_are_copied_where_numba_may_write(tmp_path: Path) -> None:
    image = tmp_path / "image"
    (image / "group").mkdir(parents=True)
    (image / "group" / "kernel.nbc").write_bytes(b"code")
    (image / "group" / "kernel.nbc").chmod(0o444)
    environment = {"SCENEWRIGHT_KERNEL_CACHE": str(image), "NUMBA_CACHE_DIR": str(tmp_path / "cache" / "numba")}
    prepare_environment(environment, tmp_path)
    copied = tmp_path / "cache" / "numba" / "group" / "kernel.nbc"
    assert copied.read_bytes() == b"code" and copied.stat().st_mode & 0o200


def test_a_cache_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "image").mkdir()
    (tmp_path / "image" / "new").write_text("x")
    (tmp_path / "cache").mkdir()
    environment = {"SCENEWRIGHT_KERNEL_CACHE": str(tmp_path / "image"), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    prepare_environment(environment, tmp_path)
    assert not list((tmp_path / "cache").iterdir())


@pytest.mark.parametrize("environment", [{}, {"SCENEWRIGHT_KERNEL_CACHE": "/nowhere", "NUMBA_CACHE_DIR": "/nowhere"}])
def test_without_compiled_kernels_nothing_happens(environment: dict[str, str], tmp_path: Path) -> None:
    before = dict(environment)
    prepare_environment(environment, tmp_path)
    assert environment == before and not list(tmp_path.iterdir())


def test_certificates_given_as_text_become_a_file(tmp_path: Path) -> None:
    environment = {"AWS_CA_BUNDLE": PEM}
    prepare_environment(environment, tmp_path)
    assert Path(environment["AWS_CA_BUNDLE"]).read_text() == PEM


def test_certificates_given_as_a_path_stay_so(tmp_path: Path) -> None:
    environment = {"AWS_CA_BUNDLE": "/etc/ssl/lab.pem"}
    prepare_environment(environment, tmp_path)
    assert environment == {"AWS_CA_BUNDLE": "/etc/ssl/lab.pem"}


FAULTS = """
import resource
import threading
import numpy as np
from scenewright_stages.worker.process import process_setup
{before}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def work():
    for _ in range(100):
        image = np.ones((1024, 1024, 3), np.float32)
        matte = image[..., 0] * 2
        smaller = image[:700, :700].copy()
        del image, matte, smaller
before = faults()
threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(faults() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a matter of the GNU C library")
@pytest.mark.process
def test_memory_of_freed_images_is_used_again() -> None:
    def faults(before: str) -> int:
        command = [sys.executable, "-c", FAULTS.format(before=before)]
        return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)

    assert faults("process_setup.reuse_memory()") < 0.7 * faults("")


NOBODY = 2**22 + 1
"""Above the kernel's largest process number."""


def test_a_dead_process_leaves_nothing_and_one_that_lives_keeps_its_folder(tmp_path: Path) -> None:
    dead, living = tmp_path / f"{PREFIX}{NOBODY}-x", tmp_path / f"{PREFIX}{os.getpid()}-x"
    dead.mkdir()
    living.mkdir()
    made = make_scratch(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([living, made])


def test_a_folder_that_another_process_removes_first_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / f"{PREFIX}{NOBODY}-gone"
    monkeypatch.setattr(Path, "glob", lambda *_: [gone])
    assert make_scratch(tmp_path).is_dir()
