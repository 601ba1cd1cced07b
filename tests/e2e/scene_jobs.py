"""Tiny VistaDream jobs, run by the command that users type, in the processes that users get."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from agreement import assert_numbers_agree
from numpy.typing import NDArray
from summaries import comparable

from scenewright_stages.contract import layout
from scenewright_stages.contract.records import Record

COMMAND = [sys.executable, "-m", "scenewright.cli.main"]
STAGES = ("outpaint", "depth", "initialize", "coarse", "render")

SMALL: dict[str, Any] = {
    "mode": "noOutpaint",
    "maxResolution": 64,
    "initialize": {"iterations": 2},
    "trajectory": {"motionPreset": "small"},
    "coarse": {"frames": 1, "denseMultiplier": 4, "iterationsPerFrame": 2, "margin": 8},
    "render": {"maxFrames": 4, "framesPerView": 2, "rerun": False},
}
"""Every stage does its work, none takes a second."""

COARSE: dict[str, Any] = {**SMALL, "mode": "coarse", "render": {**SMALL["render"], "rerun": True}}


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit code, what it printed, and the job of its JSON (empty when it was refused)."""

    code: int
    stdout: str
    stderr: str

    @property
    def job(self) -> dict[str, Any]:
        jobs = json.loads(self.stdout).get("jobs", [])
        return dict(jobs[0]) if jobs else {}

    @property
    def problems(self) -> list[dict[str, Any]]:
        """Refusals of the manifest, or of the job."""
        return list(json.loads(self.stdout).get("problems") or self.job.get("problems", []))

    def steps(self) -> set[str]:
        """Steps for which a process ran."""
        return set(self.job["stepSeconds"])


def write_manifest(path: Path, source: object, output: object, block: Mapping[str, Any], **spec: Any) -> Path:
    """A SceneJob as JSON, which is YAML too."""
    content = {
        "apiVersion": "scenewright.io/v1alpha1",
        "kind": "SceneJob",
        "metadata": {"name": "scene"},
        "spec": {"input": {"uri": str(source)}, "output": {"uri": str(output)}, "vistadream": dict(block), **spec},
    }
    path.write_text(json.dumps(content))
    return path


def scenewright(*arguments: object, environment: Mapping[str, str] | None = None) -> Ended:
    """Runs the command with ``-o json``; nothing that it prints may be a traceback."""
    command = [*COMMAND, *map(str, arguments), "-o", "json"]
    done = subprocess.run(
        command, env={**os.environ, **(environment or {})}, capture_output=True, text=True, timeout=540, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    ended = Ended(done.returncode, done.stdout, done.stderr)
    if arguments[0] == "run":
        assert_agreement(ended)
    return ended


def assert_agreement(ended: Ended) -> None:
    """Whatever a run published, into a folder or a bucket, tells the numbers of its JSON."""
    for job in json.loads(ended.stdout).get("jobs", []):
        if results := job["outputs"].get("results", ""):
            assert_numbers_agree(results, job)


def photograph(seed: int = 0, width: int = 64, height: int = 64) -> NDArray[np.uint8]:
    """(height, width, 3) uint8 sRGB: ground, sky and a box, no two of which look alike."""
    rows, columns = np.mgrid[0:height, 0:width]
    noise = np.random.default_rng(seed).normal(0, 6, (height, width, 3))
    picture = np.stack([80 + 1.5 * rows, 120 + 0.8 * columns, 200 - 1.8 * rows], axis=2).astype(np.float64)
    top, left = int(0.35 * height), int((0.25 + 0.1 * (seed % 3)) * width)
    picture[top : int(0.8 * height), left : left + width // 3] = (190, 60 + 30 * (seed % 4), 40)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def write_photograph(path: Path, seed: int = 0, width: int = 64, height: int = 64) -> Path:
    """A PNG of :func:`photograph`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), cv2.cvtColor(photograph(seed, width, height), cv2.COLOR_RGB2BGR))
    return path


def records(output: Path) -> list[Record]:
    """All stored records of all stages."""
    files = sorted(file for stage in STAGES for file in (output / layout.ROOT / stage).rglob("*.jsonl"))
    return [Record.from_line(line) for file in files for line in _text(file).split("\n") if line]


def _text(file: Path) -> str:
    """Content of a file; nothing if a running process has removed it meanwhile."""
    try:
        return file.read_text()
    except FileNotFoundError:
        return ""


def made_by(output: Path) -> dict[tuple[str, str, str], set[tuple[str, str]]]:
    """Run and attempt of every stored ``done`` by stage, key and sample."""
    found: dict[tuple[str, str, str], set[tuple[str, str]]] = {}
    for record in records(output):
        if record.state == "done":
            name = (record.stage, record.key, record.sample)
            found.setdefault(name, set()).add((record.run, record.attempt))
    return found


def visible_files(output: Path) -> set[str]:
    """Every file of the output that is not under ``.scenewright``."""
    files = (path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file())
    return {path for path in files if not path.startswith(f"{layout.ROOT}/")}


def published(output: Path) -> dict[str, dict[str, Any]]:
    """What the last publish names, by path."""
    files: dict[str, dict[str, Any]] = json.loads((output / layout.PUBLISHED).read_text())["files"]
    return files


def lasting_files(output: Path, recordings: bool = False) -> dict[str, str]:
    """Hash by path of every published file, results and intermediates, that two runs of one manifest have in common.

    Pages hold times, and Rerun's recordings hold random ids: recordings, and what ``manifest.jsonl`` says of them, are
    left out unless they are asked for. The summary is hashed without its times, all others as they lie on the disk.
    """
    lasting = lasting_paths(published(output))
    if not recordings:
        lasting = [path for path in lasting if not path.endswith(".rrd")]
    hashes = {path: lasting_hash(path, (output / path).read_bytes()) for path in lasting}
    if not recordings:
        manifest = without_recordings((output / "manifest.jsonl").read_bytes())
        hashes["manifest.jsonl"] = hashlib.sha256(manifest).hexdigest()
    return hashes


def lasting_paths(files: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Of what ``published.json`` names: every file that does not hold times, and the summary."""
    return sorted(path for path, entry in files.items() if not entry.get("volatile") or path == layout.SUMMARY)


def lasting_hash(path: str, content: bytes) -> str:
    """Hash of a file; of the summary without its times."""
    return hashlib.sha256(comparable(path, content)).hexdigest()


def without_recordings(manifest: bytes) -> bytes:
    """A ``manifest.jsonl`` in which ``.rrd`` files have neither size nor hash; as it is when it names none."""
    recording = rb'("path":"[^"]*\.rrd"),"size":\d+,"hash":"[0-9a-f]+"'
    return re.sub(recording, rb"\1", manifest)


def assert_consistent(output: Path) -> None:
    """Whatever is published lies there in full, and nothing visible lies there that is not published."""
    files = published(output)
    assert {path: (output / path).stat().st_size for path in files} == {
        path: entry["size"] for path, entry in files.items()
    }
    assert visible_files(output) == {path for path in files if not path.startswith(f"{layout.ROOT}/")}
