"""Plans an object (:func:`make_plan`): its pipeline, effective parameters, chain of stages, keys and work hash."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from scenewright.api.execution import Retries, effective_retries
from scenewright.api.kinds import CommonSpec, JobSpec, given_pipeline, manifest_model
from scenewright.api.names import API_VERSION
from scenewright.api.raw import Json, RawJson
from scenewright.api.scheduling import Toleration
from scenewright.planning import backends, policy
from scenewright.planning.documents import kind_of
from scenewright.planning.effective import effective_parameters, selected_stages
from scenewright.planning.inputs import ObjectReference, ResolvedInput, named_inputs
from scenewright.planning.lab import with_lab_defaults
from scenewright.planning.problems import Problem, SpecError
from scenewright.planning.sweep import Child, children_of
from scenewright.planning.validation import validated
from scenewright_stages.contract.keys import short_hash, stage_keys
from scenewright_stages.contract.params import Params
from scenewright_stages.contract.pipeline import Kind, NamedInput, Pipeline, StageSpec
from scenewright_stages.contract.task import TaskRetries


@dataclass(frozen=True)
class Plan:
    """Everything needed to run an object.

    Attributes:
        parameters: the pipeline's parameters with ``stageOverrides`` and ``models.policy`` applied.
        chain: all stages of the pipeline with these parameters, in running order.
        selected: names of the stages that may run.
        inputs: inputs besides the job's own, such as the data set of a TuningRun.
        children: of an object with a matrix, which has no run of its own.
        lab: values that came from the lab defaults, by path below ``spec``.
        resolved: inputs from other objects as they were when the run started, by name.
        revisions: model revision of each backend in use, by ``capability/backend``.
        keys: key of every stage of the chain.
        work_hash: equal hashes mean the same work; a new run starts only when it changes.
        retries: effective retries; the pipeline's default counts where the spec sets none.
    """

    kind: Kind
    name: str
    namespace: str
    spec: CommonSpec
    pipeline: Pipeline
    parameters: Params
    chain: tuple[StageSpec, ...]
    selected: tuple[str, ...]
    inputs: tuple[NamedInput, ...]
    revisions: Mapping[str, str]
    keys: Mapping[str, str]
    work_hash: str
    retries: TaskRetries
    lab: RawJson = field(default_factory=dict)
    children: tuple[Child, ...] = ()
    resolved: Mapping[str, ResolvedInput] = field(default_factory=dict)

    @property
    def input_uri(self) -> str:
        """URI of the job's own input; empty for a TuningRun, which has none."""
        return self.spec.input.uri if isinstance(self.spec, JobSpec) else ""

    @property
    def usable_licences(self) -> list[str]:
        """The licences whose weights it may load: accepted by name, and permitted by the policy."""
        return policy.usable_licences(self.spec.models)

    def references(self) -> dict[str, ObjectReference]:
        """The objects that this one refers to, by the name of the input."""
        return {each.name: ObjectReference(each.kind, each.object) for each in self.inputs if each.kind and each.object}

    def with_resolved(self, resolved: Mapping[str, ResolvedInput]) -> Plan:
        """The plan with resolved inputs from other objects. Their hashes change the keys."""
        if not resolved:
            return self
        hashes = {name: each.hash for name, each in resolved.items()}
        keys = stage_keys(self.pipeline, self.parameters, self.revisions, self.spec.execution.seed, hashes)
        return replace(self, resolved=dict(resolved), keys=keys)

    def placed(self, node_selector: Mapping[str, str], tolerations: Iterable[RawJson]) -> Plan:
        """The plan with further conditions on nodes, such as those of an admitted flavor."""
        scheduling = self.spec.scheduling
        update = {
            "node_selector": {**scheduling.node_selector, **node_selector},
            "tolerations": [*scheduling.tolerations, *map(Toleration.model_validate, tolerations)],
        }
        return replace(self, spec=self.spec.model_copy(update={"scheduling": scheduling.model_copy(update=update)}))

    def stage(self, name: str) -> StageSpec:
        """The stage of that name; KeyError if the chain has none."""
        return {stage.name: stage for stage in self.chain}[name]

    def effective_object(self) -> Json:
        """The object with all defaults and overrides written out, as in ``job.json``."""
        spec = self.spec.model_dump(mode="json", by_alias=True, exclude_none=True)
        spec["execution"]["retries"] = self.retries.model_dump(mode="json", by_alias=True)
        spec[self.pipeline.name] = self.parameters.model_dump(mode="json", by_alias=True, exclude_none=True)
        return {
            "apiVersion": API_VERSION,
            "kind": self.kind,
            "metadata": {"name": self.name},
            "spec": spec,
        }


def make_plan(
    document: RawJson,
    revision_of: backends.RevisionOf = backends.declared_revision,
    defaults: RawJson | None = None,
) -> Plan:
    """The plan of a raw document with absolute URIs.

    `revision_of` returns the revision of the weights that will run, which is part of the keys.

    Raises:
        SpecError: with all problems that can be found without reading the input.
    """
    kind, given_document = kind_of(document), document
    lab: RawJson = {}
    if defaults and isinstance(document.get("spec"), dict):
        document, lab = with_lab_defaults(document, defaults)
    manifest = validated(document, manifest_model(kind))
    spec = manifest.spec
    pipeline = given_pipeline(kind, spec)
    if pipeline is None:
        raise SpecError([Problem("kind", kind, "no pipeline of this kind is installed")])
    given: Params = getattr(spec, pipeline.name)
    overrides = spec.execution.stage_overrides
    if "execution.stageOverrides" in lab:
        # Lab overrides may name stages of any pipeline: use those of this object's pipeline.
        names = {stage.name for stage in pipeline.stages(given)}
        overrides = {name: override for name, override in overrides.items() if name in names}
    stated, chain = effective_parameters(pipeline, given, overrides)
    parameters, accepted = stated, policy.usable_licences(spec.models)
    permissive = spec.models.policy == policy.PERMISSIVE
    if permissive:
        kept = [name for name, override in overrides.items() if override.backend]
        parameters, chain = policy.best_permitted(pipeline, stated, accepted, kept)
    selected = selected_stages(chain, spec.execution.stages)
    find_problems = policy.policy_problems if permissive else backends.licence_problems
    if problems := find_problems(chain, parameters, selected, accepted):
        raise SpecError(problems)
    revisions = backends.revisions(chain, revision_of)
    for name, places in backends.located_revisions(chain, parameters, revision_of).items():
        revisions[name] += f"+{places}"
    children = children_of(given_document) if spec.matrix is not None else ()
    for child in children:
        make_plan(child.document, revision_of, defaults)
    return Plan(
        kind=kind,
        name=manifest.metadata.name,
        namespace=manifest.metadata.namespace,
        spec=spec,
        pipeline=pipeline,
        parameters=parameters,
        chain=chain,
        selected=selected,
        inputs=named_inputs(pipeline, spec, parameters),
        revisions=revisions,
        keys=stage_keys(pipeline, parameters, revisions, spec.execution.seed),
        # Of the parameters before the policy: a new version that has a better backend starts no new run.
        work_hash=work_hash(spec, pipeline, stated),
        retries=effective_retries(spec.execution.retries, pipeline.retries_per_sample),
        lab=lab,
        children=children,
    )


def work_hash(spec: CommonSpec, pipeline: Pipeline, parameters: Params) -> str:
    """Hash of everything that determines the results and the retries. Values equal to their defaults are left out.

    Suspension, parallelism, priority, deadlines and TTL are not part of it, so changing them starts no new run.
    """
    execution, per_sample = spec.execution, pipeline.retries_per_sample
    usual = effective_retries(Retries(), per_sample).model_dump(by_alias=True)
    retries = effective_retries(execution.retries, per_sample).model_dump(by_alias=True)
    sources = {name: getattr(spec, name) for name in ("input", "dataset") if hasattr(spec, name)}
    return short_hash(
        {
            **{name: _differences(block) for name, block in sources.items()},
            "output": _differences(spec.output),
            "pipeline": {pipeline.name: _differences(parameters)},
            "stages": _differences(execution.stages),
            "seed": execution.seed,
            "samplesPerShard": execution.samples_per_shard,
            "retries": {name: value for name, value in retries.items() if value != usual[name]},
            "onSampleError": execution.on_sample_error,
            "models": _differences(spec.models),
            "retryToken": execution.retry_token,
            **({"matrix": _differences(spec.matrix)} if spec.matrix is not None else {}),
        }
    )


def _differences(block: Params) -> Json:
    return block.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def outputs_conflict(one: Plan, other: Plan) -> bool:
    """Whether two objects have equal or nested outputs, outside of folders that the outer one hosts."""
    outer, inner = sorted((one, other), key=lambda plan: len(plan.spec.output.uri.rstrip("/")))
    prefix, path = f"{outer.spec.output.uri.rstrip('/')}/", f"{inner.spec.output.uri.rstrip('/')}/"
    return path.startswith(prefix) and not is_hosted(prefix, path, outer.pipeline.hosts)


def is_hosted(outer: str, inner: str, hosts: Iterable[str]) -> bool:
    """Whether `inner` lies in a folder of `outer` that is reserved for other objects (`hosts`)."""
    below = f"{inner.rstrip('/')}/".removeprefix(f"{outer.rstrip('/')}/")
    return any(below.startswith(host) and below != host for host in hosts)
