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
FIRST = 12


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


def cases() -> list[tuple[str, tuple[str, ...], str]]:
    """Pipeline, selection and state of the output: of every chain that a pipeline can have, each selection once."""
    return [
        (name, selected, state)
        for name, pipeline in pipelines().items()
        for selected in dict.fromkeys(each for block in _blocks(name) for each in selections(_stages(pipeline, block)))
        for state in STATES
    ]


def subject(name: str, selected: Sequence[str], folder: Path) -> Subject:
    """The pipeline with the first of its chains that has the selection: as a prefix of it if any has."""
    pipeline = pipelines()[name]
    fitting = [block for block in _blocks(name) if tuple(selected) in selections(_stages(pipeline, block))]
    leading = (block for block in fitting if _stages(pipeline, block)[: len(selected)] == list(selected))
    return Subject(pipeline, next(leading, fitting[0]), _roots(name, folder))


@functools.cache
def _roots(name: str, folder: Path) -> tuple[Sample, ...]:
    """Samples of the first example whose input is at hand; of a pipeline without one, two photographs."""
    pipeline = pipelines()[name]
    for block, uri in _examples(name):
        if uri.startswith("file://"):
            job = Job(folder / name, replace(pipeline), block, input=uri.removeprefix("file://"))
            job.index()
            return tuple(job.samples().values())
    return (Sample("all"),) if pipeline.kind == "TuningRun" else (photo("a"), photo("b"))


@functools.cache
def _blocks(name: str) -> list[dict[str, Any]]:
    """Parameters of the examples, and those by which the pipeline shows all its stages."""
    return [*(block for block, _ in _examples(name)), *(dict(block) for block in pipelines()[name].sample_blocks())]


def _stages(pipeline: Pipeline, block: dict[str, Any]) -> list[str]:
    return [stage.name for stage in pipeline.stages(pipeline.parse(block))]


def _examples(name: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Block and input of every example of a pipeline."""
    for path in sorted(EXAMPLES.glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            spec = with_absolute_uris(document, path.parent).get("spec", {})
            if name in spec:
                yield spec[name], spec.get("input", {}).get("uri", "")


def first_of(population: Population, each: int = FIRST) -> Population:
    """The first few samples of every level whose parents are among the first too: rules hold for ten as for 500."""
    kept: dict[int, tuple[Sample, ...]] = {}
    for level, samples in sorted(population.items()):
        parents = {sample.id for above in kept.values() for sample in above}
        born = [one for one in samples if one.parent is None or one.parent.id in parents]
        kept[level] = tuple(born[:each] if level > 0 else born)
    return kept


@dataclass
class Output:
    """What an output holds: the records of all runs into it."""

    subject: Subject

    def __post_init__(self) -> None:
        self.records: list[Record] = []
        self.population = first_of(self.subject.chain().population(self.subject.roots))

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
