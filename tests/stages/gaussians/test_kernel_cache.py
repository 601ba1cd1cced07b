"""Compiled kernels never outlive the sources they were made from."""

from __future__ import annotations

from pathlib import Path

import pytest

from scenewright_stages.vision.gaussians.kernels.cache import discard_stale


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    cache, sources = tmp_path / "cache", tmp_path / "sources"
    sources.mkdir()
    (sources / "layout.py").write_text("NEAR = 0.01\n")
    (sources / "projection.py").write_text("from .layout import NEAR\n")
    discard_stale(cache, sources)
    for name in ("projection.nbi", "projection.1.nbc"):
        (cache / name).write_bytes(b"compiled")
    return cache, sources


def test_unchanged_sources_keep_their_kernels(folders: tuple[Path, Path]) -> None:
    cache, sources = folders
    assert not discard_stale(cache, sources)
    assert (cache / "projection.nbi").exists()


def test_a_changed_constant_in_another_file_discards_them(folders: tuple[Path, Path]) -> None:
    cache, sources = folders
    (sources / "layout.py").write_text("NEAR = 0.02\n")
    assert discard_stale(cache, sources)
    assert not list(cache.glob("*.nb[ic]"))
    assert not discard_stale(cache, sources)


def test_a_cache_from_before_the_stamp_is_discarded(folders: tuple[Path, Path]) -> None:
    cache, sources = folders
    (cache / "sources.digest").unlink()
    assert discard_stale(cache, sources)
    assert not list(cache.glob("*.nb[ic]"))


def test_a_cache_that_cannot_be_made_is_no_error(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert not discard_stale(tmp_path / "file" / "cache", folders[1])
