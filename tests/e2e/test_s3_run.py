"""Input and output on a real S3 server: the bytes of a local run, and nothing done twice there either."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scene_jobs import (
    SMALL,
    STAGES,
    lasting_files,
    lasting_hash,
    lasting_paths,
    scenewright,
    write_manifest,
    write_photograph,
)

from scenewright_stages.contract import layout
from scenewright_stages.store import Store, open_store

pytestmark = pytest.mark.slow

FOCAL_PIXELS = 60.0
CAMERA = {"width": 64, "height": 64, "focalPixels": FOCAL_PIXELS, "baselineMetres": 0.1}


def stereo_capture(folder: Path) -> Path:
    """A photograph, its disparity and its camera file: rows from 2 m (above) to 1 m (below)."""
    write_photograph(folder / "a.png")
    depth = np.linspace(2, 1, 64, dtype=np.float32)[:, None].repeat(64, axis=1)
    np.save(folder / "a.disparity.npy", (FOCAL_PIXELS * CAMERA["baselineMetres"] / depth).astype(np.float32))
    (folder / "a.camera.json").write_text(json.dumps(CAMERA))
    return folder


def upload(folder: Path, uri: str) -> str:
    """Puts every file of a folder below a prefix."""
    store = open_store(uri)
    for path in sorted(folder.iterdir()):
        store.put_bytes(path.name, path.read_bytes())
    return uri


def lasting_objects(store: Store) -> dict[str, str]:
    """What :func:`scene_jobs.lasting_files` says of a local output, of any."""
    files: dict[str, dict[str, Any]] = json.loads(store.get_bytes(layout.PUBLISHED))["files"]
    return {path: lasting_hash(path, store.get_bytes(path)) for path in lasting_paths(files)}


MEASURED = {"depth": {"backend": "provided", "provided": {"kind": "disparity"}}}
EVERYTHING = {**SMALL, **MEASURED, "mode": "coarse"}
"""All stages, on a photograph with files beside it."""


def test_a_job_on_s3_gives_the_bytes_of_a_local_one_and_runs_once(tmp_path: Path, s3_bucket: str) -> None:
    source = stereo_capture(tmp_path / "in")
    local = scenewright("run", write_manifest(tmp_path / "local.json", source, tmp_path / "out", EVERYTHING))
    assert local.code == 0, local.stderr
    target = f"s3://{s3_bucket}/results"
    manifest = write_manifest(tmp_path / "s3.json", upload(source, f"s3://{s3_bucket}/captures"), target, EVERYTHING)
    remote = scenewright("run", manifest)
    assert remote.code == 0, remote.stderr
    expected = lasting_files(tmp_path / "out")
    assert lasting_objects(open_store(target)) == expected
    assert {"a/gf.ply", "a/orbit.mp4", "manifest.jsonl", "summary.json"} <= expected.keys()
    again = scenewright("run", manifest)
    assert (again.code, again.steps() & set(STAGES)) == (0, set())
    assert lasting_objects(open_store(target)) == expected


def test_measured_depth_on_s3_is_the_one_that_is_used(tmp_path: Path, s3_bucket: str) -> None:
    """Without the camera file disparity has no depth: so the file on S3 was found and read."""
    source = stereo_capture(tmp_path / "in")
    (source / "a.camera.json").unlink()
    uri = upload(source, f"s3://{s3_bucket}/captures")
    ended = scenewright("run", write_manifest(tmp_path / "job.json", uri, tmp_path / "out", {**SMALL, **MEASURED}))
    assert ended.code == 1
    assert "a.camera.json" in ended.job["failures"][0]["message"]


def test_an_input_that_is_not_on_s3_is_refused(tmp_path: Path, s3_bucket: str) -> None:
    manifest = write_manifest(tmp_path / "job.json", f"s3://{s3_bucket}/nothing", tmp_path / "out", SMALL)
    ended = scenewright("run", manifest)
    assert ended.code == 10
    assert [problem["field"] for problem in ended.problems] == ["spec.input.uri"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("fault", ["no such bucket", "wrong key", "no server"])
def test_an_output_that_s3_does_not_let_us_write_is_refused(
    tmp_path: Path, s3_bucket: str, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    source = stereo_capture(tmp_path / "in")
    bucket = "never-made-7" if fault == "no such bucket" else s3_bucket
    if fault == "wrong key":
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "guessed")
    if fault == "no server":
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    ended = scenewright("run", write_manifest(tmp_path / "job.json", source, f"s3://{bucket}/out", SMALL))
    assert ended.code == 10
    (problem,) = ended.problems
    assert problem["field"] == "spec.output.uri"
    assert bucket in str(problem["value"])
    assert problem["remedy"]
