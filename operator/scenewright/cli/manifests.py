"""Loads manifest files, applies the options of the command line, and plans the objects in them."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from scenewright.api.kinds import spec_model
from scenewright.api.names import API_VERSION
from scenewright.api.raw import Json
from scenewright.cli.addressing import assignments_of, stages_of
from scenewright.cli.executions import execution_uri
from scenewright.execution.devices import available_cpus, available_gpus
from scenewright.planning.documents import (
    absolute_uri,
    kind_of,
    parse_documents,
    value_at,
    with_absolute_uris,
    with_value,
)
from scenewright.planning.inputs import ObjectReference
from scenewright.planning.overrides import apply_overrides
from scenewright.planning.plan import Plan, make_plan, outputs_conflict
from scenewright.planning.problems import ABSENT, Problem, SpecError
from scenewright.planning.sweep import children_of
from scenewright_stages.backends.runtime.cache.weights import default_cache_dir, weights_status
from scenewright_stages.contract.backends import Weights
from scenewright_stages.contract.formats import PICTURE_ENDINGS, UNREAD_PICTURES
from scenewright_stages.contract.keys import leaves
from scenewright_stages.contract.params import merged
from scenewright_stages.pipelines import pipelines


@dataclass(frozen=True)
class Changes:
    """Changes to every document from the options of the command line.

    Attributes:
        assignments: ``path=value`` of each ``--set``, with ``NAME:`` before it if it is for one of several objects.
        only: names of stages, separated by commas; ``NAME:`` as for assignments.
        start_from: name of a stage; ``NAME:`` as for assignments.
        input_uri, output_uri: relative paths are relative to the current folder.
        execution: folder in the output: ``new``, ``last`` or a name; empty for the output itself.
        pipeline: for files and folders instead of manifests; empty for `PHOTOGRAPH_PIPELINE`, or for a video the one
            that takes it.
        live_viewer: address of a Rerun viewer that shows the scene while it grows.
    """

    assignments: Sequence[str] = ()
    only: str = ""
    start_from: str = ""
    input_uri: str = ""
    output_uri: str = ""
    execution: str = ""
    pipeline: str = ""
    live_viewer: str = ""


PHOTOGRAPH_PIPELINE = "vistadream"
"""Default pipeline of a photograph without a manifest."""

_LIVE_VIEWER = "live_viewer"
"""Parameter of pipelines that can show their results while they run."""

_MANIFEST_SUFFIXES = (".yaml", ".yml", ".json")


def load_plans(files: Sequence[Path], changes: Changes, *, complete: bool = True) -> list[Plan]:
    """The plans of all documents in the files, each after its dependencies, which `complete` requires to be there.

    Raises:
        SpecError: with the problems of all documents.
    """
    documents, problems = _load_all(files, changes)
    plans: list[Plan] = []
    for document in documents:
        try:
            plans.append(make_plan(document, local_revision))
        except SpecError as error:
            problems += error.problems if len(documents) == 1 else [_named(document, each) for each in error.problems]
    problems += _shared_outputs(plans)
    if problems:
        raise SpecError(problems)
    return in_order(plans, complete=complete)


def _load_all(files: Sequence[Path], changes: Changes) -> tuple[list[Json], list[Problem]]:
    """The documents of all files, and the problems of unreadable files; of several files each problem names its own."""
    raw: list[tuple[Json, Path]] = []
    problems: list[Problem] = []
    for file in files:
        try:
            raw += raw_documents(file, changes.pipeline)
        except SpecError as error:
            problems += error.problems if len(files) == 1 else [_in_file(file, each) for each in error.problems]
    if problems:
        # An option without a name may be about a document that could not be read.
        return [], problems
    documents = changed_documents(raw, changes)
    # A sweep's children, each for itself.
    expanded = ([dict(child.document) for child in children_of(document)] or [document] for document in documents)
    return [each for several in expanded for each in several], []


def changed_documents(raw: Sequence[tuple[Json, Path]], changes: Changes) -> list[Json]:
    """The documents with the changes that are about each applied, and all paths, relative to its folder, made absolute.

    Raises:
        SpecError: a change that fits no document, or several.
    """
    documents = [document for document, _ in raw]
    assignments = assignments_of(documents, changes.assignments)
    only = stages_of(documents, "--only", changes.only)
    start = stages_of(documents, "--start-from", changes.start_from)
    return [
        _changed(
            with_absolute_uris(_assigned(document, assignments[place]), folder), changes, only[place], start[place]
        )
        for place, (document, folder) in enumerate(raw)
    ]


def _in_file(file: Path, problem: Problem) -> Problem:
    if problem.field == "FILE":
        return problem
    return replace(problem, field=f"{file}: {problem.field}" if problem.field else str(file))


def in_order(plans: Sequence[Plan], *, complete: bool = True) -> list[Plan]:
    """The plans, each after its dependencies, otherwise in the given order.

    Raises:
        SpecError: a missing dependency, a duplicate name, or a cycle.
    """
    known = {reference_to(plan): plan for plan in plans}
    if len(known) < len(plans):
        raise SpecError([Problem("metadata.name", plans[0].name, "two objects have the same kind and name")])
    needed = {name: {each for each in plan.references().values() if each in known} for name, plan in known.items()}
    if complete:
        _refuse_missing(plans, known)
    try:
        return [known[name] for name in TopologicalSorter(needed).static_order()]
    except CycleError as error:
        names = " needs ".join(str(name) for name in error.args[1])
        raise SpecError([Problem("", ABSENT, f"the objects need each other: {names}")]) from None


def _refuse_missing(plans: Sequence[Plan], known: Mapping[ObjectReference, Plan]) -> None:
    problems = [
        Problem(
            f"{plan.name}: {each.field}",
            each.object,
            f"needs {each.kind}/{each.object}: name its manifest in the same command, or its results by their URI",
        )
        for plan in plans
        for each in plan.inputs
        if each.kind and ObjectReference(each.kind, each.object) not in known
    ]
    if problems:
        raise SpecError(problems)


def reference_to(plan: Plan) -> ObjectReference:
    """The reference by which other objects name this one."""
    return ObjectReference(plan.kind, plan.name)


def raw_documents(file: Path, pipeline: str = "") -> list[tuple[Json, Path]]:
    """The raw documents in a file, each with the folder that its paths are relative to."""
    folder = Path.cwd() if str(file) == "-" else file.absolute().parent
    bare = is_input(file, pipeline)
    documents = [input_document(file, pipeline)] if bare else _manifest(file, pipeline)
    return [(document, folder) for document in documents]


def is_input(file: Path, pipeline: str = "") -> bool:
    """Whether a file, by its name, or a folder is an input for a pipeline and not a manifest.

    A folder is one only with a pipeline: without, somebody may have meant a manifest in it.
    """
    if file.is_dir():
        return bool(pipeline)
    return file.suffix.lower() not in _MANIFEST_SUFFIXES and bool(_pipelines_taking(file))


def _pipelines_taking(file: Path) -> dict[str, str]:
    """The pipelines that accept such a file or folder as an input, with their kinds."""
    found = {name: each for name, each in pipelines().items() if each.input.suffixes or each.input.lister}
    if file.is_dir():
        return {name: each.kind for name, each in found.items()}
    suffix = file.suffix.lower()
    return {name: each.kind for name, each in found.items() if suffix in (*each.input.suffixes, *each.input.lone)}


def input_document(file: Path, pipeline: str = "") -> Json:
    """The manifest for a file or folder: what its pipeline chooses for it here, and an output in ``results``.

    Raises:
        SpecError: there is no such pipeline, or it does not accept such an input.
    """
    taking = _pipelines_taking(file)
    name = pipeline or (PHOTOGRAPH_PIPELINE if PHOTOGRAPH_PIPELINE in taking else min(taking, default=""))
    if name not in taking:
        what = "folder" if file.is_dir() else f"{file.suffix} file"
        raise SpecError([Problem("--pipeline", name, f"takes no {what}; these do: {', '.join(sorted(taking))}")])
    title = re.sub(r"[^a-z0-9]+", "-", file.absolute().stem.lower()).strip("-")[:40].strip("-") or "photograph"
    output = Path.cwd() / "results" / title
    block = input_block(file, name)
    spec = {"input": {"uri": str(file.absolute())}, "output": {"uri": str(output)}, name: block}
    return {"apiVersion": API_VERSION, "kind": taking[name], "metadata": {"name": title}, "spec": spec}


def input_block(file: Path, pipeline: str) -> Json:
    """What a pipeline chooses for a file or folder and for this machine; empty for its defaults."""
    found = pipelines()[pipeline]
    names = [path.as_posix() for path in file.rglob("*")] if file.is_dir() else [file.name]
    by_machine = found.photograph_block(available_cpus(), len(available_gpus(os.environ)))
    return merged(by_machine, found.block_for(names))


def input_choices(file: Path, changes: Changes) -> str:
    """A line on what was chosen for an input without a manifest, as the options that would change it; else empty."""
    if not is_input(file, changes.pipeline):
        return ""
    given = {assignment.partition("=")[0] for assignment in changes.assignments}
    (name,) = set(input_document(file, changes.pipeline)["spec"]) - {"input", "output"}
    options = [f"--set {path}={value}" for path, value in leaves(input_block(file, name)).items() if path not in given]
    cpus = available_cpus()
    machine = "a GPU" if available_gpus(os.environ) else f"{cpus} CPU{'s' if cpus > 1 else ''}"
    return f"{file.name}: chosen for {machine}: {' '.join(options)}" if options else ""


def _manifest(file: Path, pipeline: str) -> list[Json]:
    if file.name.lower().endswith(UNREAD_PICTURES):
        raise SpecError([Problem("FILE", str(file), _no_manifest(file))])
    if pipeline:
        raise SpecError([Problem("--pipeline", pipeline, f"{file.name} is a manifest, which names its own")])
    return parse_documents(_read(file))


def local_revision(weights: Weights) -> str:
    """The revision in this machine's model cache, else the declared one."""
    return weights_status(weights, default_cache_dir()).revision or weights.revision


def _read(file: Path) -> str:
    if str(file) == "-":
        return sys.stdin.read()
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SpecError([Problem("FILE", str(file), "no such file")]) from None
    except IsADirectoryError:
        remedy = "is a folder; name the manifest in it, or add --pipeline NAME to run on its files"
        raise SpecError([Problem("FILE", str(file), remedy)]) from None
    except UnicodeDecodeError:
        raise SpecError([Problem("FILE", str(file), _no_manifest(file))]) from None
    except OSError as error:
        raise SpecError([Problem("FILE", str(file), f"cannot be read: {error.strerror}")]) from None


def _no_manifest(file: Path) -> str:
    """Why a file that is not text cannot be run."""
    if file.name.lower().endswith(UNREAD_PICTURES):
        return f"pictures of this format are not read: convert it to one of {' '.join(PICTURE_ENDINGS)}"
    return "is not text; a manifest is YAML or JSON in UTF-8, and pictures and videos are known by their endings"


def _assigned(document: Json, assignments: Sequence[str]) -> Json:
    if not assignments:
        return document
    kind = kind_of(document)
    return apply_overrides(document, assignments, spec_model(kind), sorted(pipelines(kind)))


def _changed(document: Json, changes: Changes, only: Sequence[str], start_from: Sequence[str]) -> Json:
    """Applies the options, which override the manifest and ``--set``."""
    here = Path.cwd()
    if changes.input_uri:
        document = with_value(document, ["spec", "input", "uri"], absolute_uri(changes.input_uri, here))
    if changes.output_uri:
        document = with_value(document, ["spec", "output", "uri"], absolute_uri(changes.output_uri, here))
    output = value_at(document, "spec", "output", "uri")
    # Validation reports a missing URI.
    if changes.execution and isinstance(output, str):
        document = with_value(document, ["spec", "output", "uri"], execution_uri(output, changes.execution))
    if changes.live_viewer:
        document = _shown_live(document, changes.live_viewer)
    if only or start_from:
        stages: Json = {"only": list(only)} if only else {}
        if start_from:
            stages["startFrom"] = ",".join(start_from)
        document = with_value(document, ["spec", "execution", "stages"], stages)
    return document


def _shown_live(document: Json, address: str) -> Json:
    """The document with the address of a live viewer.

    Raises:
        SpecError: its pipeline does not support a live viewer.
    """
    spec = document.get("spec")
    showing = [name for name, found in pipelines().items() if _LIVE_VIEWER in found.params.model_fields]
    for name in pipelines(kind_of(document)):
        if isinstance(spec, dict) and name in spec:
            if name not in showing:
                raise SpecError([Problem("--rerun", name, f"shows nothing while it runs; {', '.join(showing)} does")])
            changed: Json = with_value(document, ["spec", name, "liveViewer"], address)
            return changed
    # Validation reports the missing pipeline.
    return document


def _named(document: Json, problem: Problem) -> Problem:
    name = value_at(document, "metadata", "name")
    return Problem(f"{'?' if name is None else name}: {problem.field}", problem.value, problem.remedy)


def _shared_outputs(plans: Sequence[Plan]) -> list[Problem]:
    """Refuses equal or nested outputs, unless one object hosts the other: they would overwrite each other."""
    return [
        Problem(f"{plan.name}: spec.output.uri", plan.spec.output.uri, f"overlaps the output of {other.name}")
        for position, plan in enumerate(plans)
        for other in plans[:position]
        if outputs_conflict(plan, other)
    ]
