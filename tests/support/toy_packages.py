"""The packages of `tests/toys`, installed as anybody's would be, and jobs of their two pipelines."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from agreement import assert_numbers_agree
from summaries import comparable

from scenewright_stages.contract import layout
from scenewright_stages.store import Store, open_store

TOYS = Path(__file__).parents[1] / "toys"
COMMAND = (sys.executable, "-m", "scenewright.cli.main")
COVERS = {"sea": "v1", "hill": "v2", "town": "v0"}
"""What the person of the tests chooses."""
ENTRIES: list[dict[str, Any]] = [
    {"name": "sea", "motto": "waves"},
    {"name": "hill", "motto": "grass", "smudged": "v1", "parameters": {"frames": 3}},
    {"name": "town", "motto": "streets", "split": "test"},
]
SAMPLES_FAILED, AWAITING = 1, 3
"""Exit codes. One view cannot be drawn, so a finished run over the data set always ends with the first."""


@cache
def installed_packages() -> Path:
    """A folder in which both packages are installed; it works once it is on the path of a process."""
    folder = Path(_folder().name)
    sources = folder / "source"
    # Building leaves files beside the sources.
    shutil.copytree(TOYS, sources, ignore=shutil.ignore_patterns("__pycache__"))
    install(folder / "site", *(path.parent for path in sorted(sources.glob("*/pyproject.toml"))))
    return folder / "site"


def install(target: Path, *packages: Path) -> None:
    """Installs packages into a folder, without a network and without what they depend on."""
    command = [str(Path(sys.executable).parent / "uv"), "pip", "install", "--quiet", "--offline", "--no-deps"]
    options = ["--no-build-isolation", "--python", sys.executable, "--target", str(target)]
    subprocess.run([*command, *options, *map(str, packages)], check=True)


def with_packages(site: Path) -> dict[str, str]:
    """The environment of a process that finds the packages of a folder, and all that this process was told of."""
    told = os.environ.get("PYTHONPATH", "")
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(site), told)))}


def tree(store: Store) -> dict[str, bytes]:
    """Content by path of every visible file, those of publications inside it included; summaries without times."""
    keys = [each.key for each in store.list() if layout.ROOT not in each.key.split("/")]
    return {key: comparable(key, store.get_bytes(key)) for key in keys}


@dataclass
class ToyJobs:
    """A set of postcards, and a training run over it that publishes inside it.

    Attributes:
        folder: of the manifests.
        uri: holds the input and the output.
        postcards, lettering: parameters of the pipelines.
    """

    folder: Path
    uri: str
    postcards: dict[str, Any] = field(default_factory=dict)
    lettering: dict[str, Any] = field(default_factory=dict)

    @property
    def output(self) -> Store:
        """Where the data set is published."""
        return open_store(f"{self.uri}/out")

    def write_input(self, entries: Iterable[dict[str, Any]] = ENTRIES) -> None:
        """Writes the list and the two files of each entry."""
        store, rows = open_store(f"{self.uri}/in"), []
        for entry in entries:
            files = {side: f"{entry['name']}/{side}.txt" for side in ("front", "back")}
            for side, path in files.items():
                store.put_bytes(path, f"{side} of {entry['name']}\n".encode())
            rows.append({**files, **entry})
        store.put_bytes("postcards.json", json.dumps(rows).encode())

    def documents(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The data set and the training run."""
        return (
            _document(
                "DatasetJob",
                "cards",
                input={"uri": f"{self.uri}/in"},
                output={"uri": f"{self.uri}/out"},
                postcards=self.postcards,
            ),
            _document(
                "TuningRun",
                "letters",
                dataset={"datasetJob": "cards"},
                output={"uri": f"{self.uri}/out/tuning_runs/letters"},
                lettering={"album": "cards", **self.lettering},
            ),
        )

    def manifests(self) -> tuple[Path, Path]:
        """Files of the data set and of the training run."""
        paths = (self.folder / "cards.json", self.folder / "letters.json")
        for path, document in zip(paths, self.documents(), strict=True):
            path.write_text(json.dumps(document))
        return paths

    def answer(self) -> None:
        """Leaves the person's answers where `scenewright pick` stores them."""
        for name, cover in COVERS.items():
            self.output.put_bytes(f"answers/{name}.json", json.dumps({"cover": cover}, indent=1).encode() + b"\n")


def scenewright(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs the command with both packages installed; nothing that it prints may be a traceback."""
    command = [*COMMAND, *map(str, arguments)]
    environment = with_packages(installed_packages())
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
    if arguments[0] == "run":
        for path in arguments[1:]:
            if isinstance(path, Path):
                _assert_agreement(path)
    return done


def _assert_agreement(manifest: Path) -> None:
    """Whatever the object of a manifest published by now tells the same numbers everywhere."""
    output = json.loads(manifest.read_text())["spec"]["output"]["uri"]
    if open_store(output).head(layout.SUMMARY):
        assert_numbers_agree(output, has_page=False)


def _document(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "scenewright.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """Lives as long as this process."""
    return tempfile.TemporaryDirectory(prefix="toys-")
