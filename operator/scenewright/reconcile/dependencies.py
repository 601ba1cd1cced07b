"""Which object another one needs, and where that stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from scenewright.reconcile.objects import ObjectStore, StoredObject
from scenewright.reconcile.observation import Dependency, ObjectKey, ObservedObject


def dependency_of(value: ObservedObject, objects: ObjectStore) -> Dependency | None:
    """The dependency of an object; None when it names none."""
    key = needed_by(value.kind, value.namespace, value.spec)
    if key is None:
        return None
    stored = objects.get(key)
    if stored is None or stored.deleting:
        return Dependency(key, "Missing")
    if _leads_back(value.key, stored, objects):
        return Dependency(key, "Cycle")
    if stored.ended:
        return Dependency(key, _state_of(stored))
    return Dependency(key, "Running")


def needed_by(kind: str, namespace: str, spec: Mapping[str, Any]) -> ObjectKey | None:
    """The object that a spec names: a TuningRun its dataset's job, a job the run whose checkpoint it uses."""
    if kind == "TuningRun":
        name = (spec.get("dataset") or {}).get("datasetJob", "")
        return ObjectKey("DatasetJob", namespace, name) if name else None
    for block in spec.values():
        fixer = block.get("difix") if isinstance(block, Mapping) else None
        if isinstance(fixer, Mapping) and fixer.get("tuningRun"):
            return ObjectKey("TuningRun", namespace, fixer["tuningRun"])
    return None


def _state_of(stored: StoredObject) -> Literal["Running", "Complete", "Failed"]:
    if stored.phase != "Complete":
        return "Failed"
    # One that was only planned has nothing to offer yet.
    return "Running" if stored.unpacked().status.get("planOnly") else "Complete"


def _leads_back(start: ObjectKey, stored: StoredObject, objects: ObjectStore) -> bool:
    seen = {start}
    current: StoredObject | None = stored
    while current is not None:
        if current.key in seen:
            return True
        seen.add(current.key)
        following = needed_by(current.key.kind, current.key.namespace, current.unpacked().spec)
        current = objects.get(following) if following else None
    return False
