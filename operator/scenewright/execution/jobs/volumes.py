"""Volumes of a step's Pod: scratch, shared memory, the model cache, and the token for pushing progress.

Everything else of the container's file system is read-only.
"""

from __future__ import annotations

from scenewright.api.raw import Json
from scenewright.execution.jobs.request import JobRequest
from scenewright.execution.jobs.resources import gibibytes

SCRATCH = "/scratch"
TEMPORARY = "/tmp"  # On the scratch volume, for libraries that ignore TMPDIR
SHARED_MEMORY = "/dev/shm"
MODELS = "/models"
COMPILED = "/compiled"
COMPILED_IN_CLAIM = "compile"
TOKEN_FOLDER = "/var/run/secrets/scenewright/progress"
TOKEN = f"{TOKEN_FOLDER}/token"


_SCRATCH, _SHARED, _MODELS, _TOKEN = "scratch", "shared-memory", "models", "progress-token"


def volumes_of(request: JobRequest) -> list[Json]:
    """The Pod's ``volumes``."""
    # The processes of a Pod exchange data through it, as NCCL does.
    shared = {"medium": "Memory", "sizeLimit": gibibytes(request.processes * request.settings.shared_memory_gib)}
    found: list[Json] = [
        {"name": _SCRATCH, **_scratch(request)},
        {"name": _SHARED, "emptyDir": shared},
    ]
    if request.model_claim:
        found.append({"name": _MODELS, "persistentVolumeClaim": {"claimName": request.model_claim}})
    target = request.settings.progress
    if target.url:
        token = {"path": "token", "audience": target.audience, "expirationSeconds": target.token_seconds}
        found.append({"name": _TOKEN, "projected": {"sources": [{"serviceAccountToken": token}]}})
    return found


def mounts_of(request: JobRequest) -> list[Json]:
    """The container's ``volumeMounts``."""
    found: list[Json] = [
        {"name": _SCRATCH, "mountPath": SCRATCH},
        {"name": _SCRATCH, "mountPath": TEMPORARY, "subPath": "tmp"},
        {"name": _SHARED, "mountPath": SHARED_MEMORY},
    ]
    if request.model_claim:
        found.append({"name": _MODELS, "mountPath": MODELS, "readOnly": not request.fills_models})
    if request.shares_compiled:
        found.append({"name": _MODELS, "mountPath": COMPILED, "subPath": COMPILED_IN_CLAIM})
    if request.settings.progress.url:
        found.append({"name": _TOKEN, "mountPath": TOKEN_FOLDER, "readOnly": True})
    return found


def _scratch(request: JobRequest) -> Json:
    size, storage_class = gibibytes(request.needs.scratch_gib), request.settings.scratch_storage_class
    if not storage_class:
        return {"emptyDir": {"sizeLimit": size}}
    claim = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": storage_class,
        "resources": {"requests": {"storage": size}},
    }
    return {"ephemeral": {"volumeClaimTemplate": {"spec": claim}}}
