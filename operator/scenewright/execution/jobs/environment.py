"""Builds the environment of a step's container: its task, writable folders and references to Secrets."""

from __future__ import annotations

from scenewright.api.raw import Json
from scenewright.execution.devices import thread_environment
from scenewright.execution.jobs import volumes
from scenewright.execution.jobs.request import JobRequest
from scenewright.planning.tasks import RunSettings, task_of, task_text
from scenewright_stages.contract.layout import STORAGE_KEYS
from scenewright_stages.contract.task import QUIT_URLS_ENVIRONMENT, task_environment

TOKEN_KEY = "HF_TOKEN"
REQUIRED_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
FLUSH_SECONDS = 5
"""End of the Pod's grace period that is kept free for uploading the log."""

_CACHE = f"{volumes.SCRATCH}/cache"
_WRITABLE = {
    "HOME": f"{volumes.SCRATCH}/home",
    "TMPDIR": volumes.TEMPORARY,
    "XDG_CACHE_HOME": _CACHE,
    "XDG_CONFIG_HOME": f"{volumes.SCRATCH}/config",
    "HF_HOME": f"{_CACHE}/huggingface",
    "NUMBA_CACHE_DIR": f"{_CACHE}/numba",
    "MPLCONFIGDIR": f"{_CACHE}/matplotlib",
}
_FIXED = {
    "LANG": "C.UTF-8",
    "PYTHONUNBUFFERED": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONSAFEPATH": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


def environment_of(request: JobRequest) -> list[Json]:
    """The container's ``env`` without duplicate names. Our variables override those of the configuration."""
    referenced = _referenced(request)
    taken = {entry["name"] for entry in referenced}
    values = {**request.settings.environment, **_values(request)}
    # Escape ``$`` as ``$$``: the kubelet would expand ``$(NAME)``, for instance in a prompt.
    literal = {name: value.replace("$", "$$") for name, value in values.items() if name not in taken}
    return [*({"name": name, "value": value} for name, value in literal.items()), *referenced]


def _values(request: JobRequest) -> dict[str, str]:
    compiled = volumes.COMPILED if request.shares_compiled else _CACHE
    progress = request.settings.progress.url
    return {
        **_FIXED,
        **_WRITABLE,
        "TORCHINDUCTOR_CACHE_DIR": f"{compiled}/inductor",
        "TRITON_CACHE_DIR": f"{compiled}/triton",
        **thread_environment({}, _threads(request)),
        **_worker(request),
        **_models(request),
        **({"SCENEWRIGHT_PROGRESS_URL": progress, "SCENEWRIGHT_PROGRESS_TOKEN": volumes.TOKEN} if progress else {}),
        **task_environment(_task(request)),
    }


def _worker(request: JobRequest) -> dict[str, str]:
    found = {
        "SCENEWRIGHT_SCRATCH": f"{volumes.SCRATCH}/work",
        "SCENEWRIGHT_GRACE_SECONDS": str(request.settings.grace_seconds - FLUSH_SECONDS),
        "SCENEWRIGHT_GPUS": str(request.needs.gpus),
        "SCENEWRIGHT_STORAGE_PATIENCE": str(request.settings.storage_patience_seconds),
    }
    if urls := request.settings.sidecar_quit_urls:
        found[QUIT_URLS_ENVIRONMENT] = " ".join(urls)
    if not request.needs.gpus:
        # CUDA images request all GPUs, and a node with NVIDIA's runtime as its default would grant them.
        found["NVIDIA_VISIBLE_DEVICES"] = "void"
    return found


def _models(request: JobRequest) -> dict[str, str]:
    found = {"SCENEWRIGHT_MODEL_CACHE": volumes.MODELS} if request.model_claim else {}
    if not request.fills_models:
        return {**found, "HF_HUB_OFFLINE": "1"}
    source = request.settings.model_cache.source
    return {**found, "SCENEWRIGHT_MODEL_SOURCE": source} if source else found


def _task(request: JobRequest) -> str:
    create = request.create
    settings = RunSettings(
        run=create.run,
        holder=request.owner.uid,
        model_cache=volumes.MODELS if request.model_claim else "",
        # A stage that has a GPU must not silently fall back to the CPU.
        device="cuda" if request.needs.gpus else "cpu",
        retry_failed=create.retry_failed,
        facts={"threads": thread_environment({}, _threads(request))},
    )
    flags = {name: getattr(create, name) for name in ("fold_index", "fold_publish", "plan_only")}
    return task_text(task_of(request.plan, settings, create.step, create.shards, **flags))


def _threads(request: JobRequest) -> int:
    """Threads per process: the processes of a Pod share its cores."""
    return max(1, request.needs.threads // request.processes)


def _referenced(request: JobRequest) -> list[Json]:
    """Variables with ``valueFrom``: the Pod's own uid, and keys of Secrets."""
    own_uid = {"fieldRef": {"fieldPath": "metadata.uid"}}
    found: list[Json] = [{"name": "SCENEWRIGHT_POD", "valueFrom": own_uid}]
    secret = request.plan.spec.storage.secret_name
    if secret:
        # Without the required keys the Pod must not start: it would use the node's identity.
        found += [_secret(key, secret, optional=key not in REQUIRED_KEYS) for key in STORAGE_KEYS]
    token = request.plan.spec.models.token_secret_name
    if token and request.fills_models:
        found.append(_secret(TOKEN_KEY, token, optional=False))
    if request.stage and (own := request.stage.pod.secret):
        found.append(_secret(own.key, own.secret, optional=False, variable=own.variable))
    return found


def _secret(key: str, secret: str, *, optional: bool, variable: str = "") -> Json:
    return {"name": variable or key, "valueFrom": {"secretKeyRef": {"name": secret, "key": key, "optional": optional}}}
