"""The API resources that the operator and the commands use, and their paths."""

from __future__ import annotations

from dataclasses import dataclass

from scenewright.api.names import GROUP, PLURALS, VERSION

USER_AGENT = "scenewright-operator"


@dataclass(frozen=True)
class Resource:
    """An API resource, by default a namespaced one."""

    group: str
    version: str
    plural: str
    namespaced: bool = True

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Path of an object or of a collection; without a namespace, of the collection in all namespaces."""
        parts = ["api", self.version] if not self.group else ["apis", self.group, self.version]
        if namespace and self.namespaced:
            parts += ["namespaces", namespace]
        parts += [part for part in (self.plural, name, subresource) if part]
        return "/" + "/".join(parts)


JOBS = Resource("batch", "v1", "jobs")
PODS = Resource("", "v1", "pods")
EVENTS = Resource("", "v1", "events")
SECRETS = Resource("", "v1", "secrets")
NAMESPACES = Resource("", "v1", "namespaces", namespaced=False)
NODES = Resource("", "v1", "nodes", namespaced=False)
CLAIMS = Resource("", "v1", "persistentvolumeclaims")
PRIORITY_CLASSES = Resource("scheduling.k8s.io", "v1", "priorityclasses", namespaced=False)
LEASES = Resource("coordination.k8s.io", "v1", "leases")
OBJECTS = {kind: Resource(GROUP, VERSION, plural) for kind, plural in PLURALS.items()}
