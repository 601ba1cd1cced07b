"""Runs the steps of a job inside the test's own process: real steps, files and records, without a process for each."""

from __future__ import annotations

import itertools
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from summaries import untimed

from scenewright_stages.contract import layout
from scenewright_stages.contract.keys import short_hash, stage_keys
from scenewright_stages.contract.pipeline import Pipeline, stage_levels
from scenewright_stages.contract.records import Record
from scenewright_stages.contract.reports import Report
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.task import INDEX_STEP, PUBLISH_STEP, Task, TaskNamedInput
from scenewright_stages.store import open_store
from scenewright_stages.worker.chain import Chain
from scenewright_stages.worker.evidence import parse_records, read_index
from scenewright_stages.worker.index.step import run_index
from scenewright_stages.worker.process.locking import OutputLock
from scenewright_stages.worker.process.progress import Progress
from scenewright_stages.worker.process.session import Session
from scenewright_stages.worker.process.settings import ProcessSettings
from scenewright_stages.worker.process.stopping import Stop
from scenewright_stages.worker.publish.step import run_publish
from scenewright_stages.worker.stage.step import StageRun

_NUMBERS = itertools.count(1)


@dataclass
class Job:
    """A job of a pipeline in a folder of its own.

    Attributes:
        folder: holds ``in`` and ``out``.
        pipeline: need not be installed.
        block: parameters as in a manifest.
        input: what the task names; the folder ``in`` unless it is given.
        inputs: named inputs by name, as a URI or as the task has them.
        options: further fields of the task.
    """

    folder: Path
    pipeline: Pipeline
    block: dict[str, Any] = field(default_factory=dict)
    input: str = ""
    inputs: dict[str, TaskNamedInput] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.source.mkdir(parents=True, exist_ok=True)
        self.new_run()

    @property
    def source(self) -> Path:
        """The folder of the input."""
        return self.folder / "in"

    @property
    def output(self) -> Path:
        """The folder of the output."""
        return self.folder / "out"

    def new_run(self) -> None:
        """What another invocation is: another run id."""
        self.run = f"run-{next(_NUMBERS)}"

    def chain(self) -> Chain:
        """The pipeline with the block as it is now."""
        parameters = self.pipeline.parse(self.block)
        stages = self.pipeline.stages(parameters)
        hashes = {name: wanted.hash for name, wanted in self.inputs.items()}
        keys = stage_keys(self.pipeline, parameters, {}, 42, hashes)
        names = frozenset(self.options.get("select_stages") or keys)
        return Chain(self.pipeline, self.block, parameters, stages, keys, names, stage_levels(stages))

    def session(self, step: str) -> Session:
        """One step in a process of its own, as far as the step knows."""
        chain = self.chain()
        fields: dict[str, Any] = {
            "kind": self.pipeline.kind,
            "name": "job",
            "pipeline": self.pipeline.name,
            "parameters": self.block,
            "step": step,
            "run": self.run,
            "work_hash": short_hash(self.block),
            "keys": chain.keys,
            "input": {"uri": self.input or str(self.source)},
            "inputs": self.inputs,
            "output": {"uri": str(self.output)},
            "select_stages": [stage.name for stage in chain.stages],
            "holder": "test",
        }
        task = Task.model_validate({**fields, **self.options})
        environment = {"SCENEWRIGHT_SCRATCH": str(self.folder / "scratch"), "SCENEWRIGHT_TERMINATION_LOG": ""}
        settings = ProcessSettings.from_environment(environment)
        store = open_store(task.output.uri)
        lock = OutputLock(store, task.holder, os.getpid())
        return Session(task, chain, settings, store, lock, Stop(25.0), Progress(None, self.run, 0))

    def index(self) -> Report:
        """Runs the index step."""
        return run_index(self.session(INDEX_STEP))

    def stage(self, name: str) -> Report:
        """Runs one stage."""
        return StageRun(self.session(name), self._scratch()).run()

    def publish(self) -> Report:
        """Runs the publish step."""
        return run_publish(self.session(PUBLISH_STEP), self._scratch())

    def all_steps(self) -> Report:
        """A whole run; the report of publish."""
        self.new_run()
        self.index()
        for stage in self.chain().selected_stages():
            self.stage(stage.name)
        return self.publish()

    def samples(self) -> dict[str, Sample]:
        """The indexed samples by id."""
        return {sample.id: sample for sample in read_index(open_store(str(self.output)))}

    def todo(self, stage: str) -> dict[str, str]:
        """Reasons by sample on the worklist of a stage in this run."""
        lines = (self.output / layout.worklist(self.run, stage)).read_text().splitlines()
        return {row["id"]: row["reason"] for row in map(json.loads, lines)}

    def records(self, stage: str) -> list[Record]:
        """All stored records of a stage."""
        files = sorted((self.output / layout.ROOT / stage).rglob("*.jsonl"))
        return [record for file in files for record in parse_records(file.read_bytes())]

    def published(self) -> dict[str, Any]:
        """``published.json``."""
        found: dict[str, Any] = json.loads((self.output / layout.PUBLISHED).read_text())
        return found

    def results(self) -> dict[str, str]:
        """Every visible file of the output by path, the summary without its times."""
        files = (path for path in sorted(self.output.rglob("*")) if path.is_file())
        found = {path.relative_to(self.output).as_posix(): path.read_text() for path in files}
        if layout.SUMMARY in found:
            found[layout.SUMMARY] = untimed(found[layout.SUMMARY].encode()).decode()
        return {path: text for path, text in found.items() if not path.startswith(layout.ROOT)}

    def _scratch(self) -> Path:
        return self.folder / "scratch" / str(next(_NUMBERS))
