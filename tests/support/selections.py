"""Runs of any installed pipeline under any selection of stages, in memory: what is selected succeeds, at no cost.

Samples come from the pipeline's real index where an example names its input. Records stand for the stages' results:
their outputs have the paths of the contracts, and their metrics answer whatever a pipeline's own functions ask.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from toy_chains import by_sample, chain_of, photo
from toy_steps import Job

from scenewright.planning.documents import with_absolute_uris
from scenewright_stages.contract.keys import input_fingerprint
from scenewright_stages.contract.outputs import OutputContract, numbered_path
from scenewright_stages.contract.pipeline import Pipeline, StageSpec
from scenewright_stages.contract.records import OutputFile, Record
from scenewright_stages.contract.samples import Sample
from scenewright_stages.pipelines import pipelines
from scenewright_stages.worker.chain import Chain, Population
from scenewright_stages.worker.states import Evidence, Relatives, States, current_upstream, judge

EXAMPLES = Path(__file__).parents[2] / "examples"
STATES = ("fresh", "half", "finished")


class Anything(float):
    """A metric that answers like a number, a word, an empty list or a block of more of its kind."""

    def __getitem__(self, name: object) -> Anything:
        return self

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def items(self) -> tuple[()]:
        return ()


class Metrics(dict[str, Any]):
    """Metrics that lack nothing."""

    def __missing__(self, name: str) -> Any:
        return Anything()


@dataclass(frozen=True)
class Subject:
    """A pipeline with parameters and indexed samples to try selections on."""

    pipeline: Pipeline
    block: dict[str, Any]
    roots: tuple[Sample, ...]

    def chain(self, selected: Sequence[str] | None = None) -> Chain:
        return chain_of(self.pipeline, self.block, selected=selected)


def selections(stages: Sequence[str]) -> list[tuple[str, ...]]:
    """Every prefix and every single stage of a chain, each once."""
    prefixes = [tuple(stages[: number + 1]) for number in range(len(stages))]
    return list(dict.fromkeys([*prefixes, *((name,) for name in stages)]))


@functools.cache
def subject(name: str, folder: Path) -> Subject:
    """The pipeline with the samples of the first example that has it; of one without an example, two photographs."""
    pipeline = pipelines()[name]
    for document in _examples():
        block = document.get("spec", {}).get(name)
        uri = document.get("spec", {}).get("input", {}).get("uri", "")
        if block is not None and uri.startswith("file://"):
            job = Job(folder / name, replace(pipeline), block, input=uri.removeprefix("file://"))
            job.index()
            return Subject(pipeline, block, tuple(job.samples().values()))
    block = dict(next(iter(pipeline.sample_blocks()), {}))
    single = pipeline.kind == "TuningRun"
    return Subject(pipeline, block, (Sample("all"),) if single else (photo("a"), photo("b")))


def _examples() -> Iterator[dict[str, Any]]:
    for path in sorted(EXAMPLES.glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            yield with_absolute_uris(document, path.parent)


@dataclass
class Output:
    """What an output holds: the records of all runs into it."""

    subject: Subject

    def __post_init__(self) -> None:
        self.records: list[Record] = []
        self.population: Population = self.subject.chain().population(self.subject.roots)

    def evidence(self) -> Evidence:
        return Evidence(by_sample(self.records))

    def states(self, chain: Chain) -> States:
        return judge(chain, self.population, self.evidence(), selected=chain.selected)

    def run(self, selected: Sequence[str], share: float = 1.0) -> None:
        """Makes what can run of the selected stages; of the last one only a share."""
        chain = self.subject.chain(selected)
        last = chain.selected_stages()[-1].name
        for stage in chain.selected_stages():
            states = self.states(chain)
            todo = [
                sample
                for sample in self.population[chain.levels[stage.name]]
                if states[stage.name][sample.id].state == "todo"
            ]
            some = todo[: max(1, round(len(todo) * share))] if stage.name == last else todo
            self.records += [self._record(chain, stage, sample, states) for sample in some]

    def prepare(self, state: str) -> None:
        """Fresh, finished, or half-finished: half of the chain, and half of the samples of its last stage."""
        names = [stage.name for stage in self.subject.chain().stages]
        if state == "finished":
            self.run(names)
        elif state == "half":
            self.run(names[: (len(names) + 1) // 2], share=0.5)

    def paths(self) -> set[str]:
        """Paths of all files that were made."""
        return {
            file.path
            for record in self.records
            for stored in record.outputs.values()
            for file in stored.files().values()
        }

    def _parts(self, chain: Chain, stage: StageSpec) -> list[str]:
        """Names of the files that samples read from a stage's folder."""
        names = {read.part for each in chain.stages for read in each.reads if read.stage == stage.name and read.part}
        samples = (sample for level in self.population.values() for sample in level)
        return sorted({str(each.attributes[name]) for each in samples for name in names if name in each.attributes})

    def _record(self, chain: Chain, stage: StageSpec, sample: Sample, states: States) -> Record:
        upstream = Relatives(chain, self.population).upstream(stage, sample, states)
        at = float(len(self.records) + 1)
        return Record(
            sample.id,
            stage.name,
            chain.keys[stage.name],
            "done",
            run="run",
            attempt="0",
            fingerprint=input_fingerprint(stage, sample, {}, ""),
            upstream=current_upstream(stage, upstream),
            outputs={output.name: stored(output, sample, self._parts(chain, stage)) for output in stage.outputs},
            at=at,
            begun=at - 1.0,
            seconds=2.0,
            metrics=metrics_of(sample),
        )


def metrics_of(sample: Sample) -> Metrics:
    """Metrics by which a sample is told from others, on either side of a split."""
    names = ("dataset", "scene_name", "group_id", "target_cam_id", "reference_cam_id", "target_fname")
    names += ("reference_fname", "image_path", "target_image_path", "ref_image_path", "strategy", "level")
    side = ("train", "test")[zlib.crc32(sample.id.encode()) % 2]
    return Metrics({name: name for name in names}, sample_id=sample.id, split=side, psnr=20.0)


def stored(output: OutputContract, sample: Sample, parts: Sequence[str]) -> OutputFile:
    """An output at the path of its contract; a folder has the files that others read one by one."""
    path, text = output.path_for(sample), f"{sample.id}-{output.name}"
    if output.form == "file":
        return OutputFile(path, 1, text)
    names = parts or ["part_0.safetensors"]
    if output.form == "numbered":
        names = [numbered_path(path, number).rpartition("/")[2] for number in range(max(1, output.minimum_files))]
    return OutputFile.of_parts(path, dict.fromkeys(names, (1, text)))
