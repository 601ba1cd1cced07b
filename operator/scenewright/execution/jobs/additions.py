"""Merges ``execution.template`` into the Pod template of a step. What the operator sets itself always wins."""

from __future__ import annotations

from scenewright.api.raw import Json
from scenewright.api.template import PodTemplate
from scenewright.execution.jobs.settings import PodSettings

_CA_FOLDER = "/etc/scenewright/ca"
_CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Read by Python's TLS and httpx, by requests and botocore, and by curl. AWS_CA_BUNDLE stays the storage Secret's."""


def with_additions(template: Json, additions: PodTemplate | None, settings: PodSettings) -> Json:
    """The Pod template with the additions; the same template without any.

    An addition wins over the chart's variable of the same name. The operator's own variables cannot be named.
    """
    if additions is None:
        return template
    raw = additions.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
    metadata, spec = raw.get("metadata", {}), raw.get("spec", {})
    (worker,) = template["spec"]["containers"]
    added: Json = next(iter(spec.get("containers", ())), {})
    volumes, mounts = [*spec.get("volumes", ())], [*added.get("volumeMounts", ())]
    given: dict[str, Json] = {}
    if bundle := additions.ca_bundle:
        items = [{"key": bundle.key, "path": "ca.crt"}]
        volumes.append({"name": "ca-bundle", "configMap": {"name": bundle.config_map, "items": items}})
        mounts.append({"name": "ca-bundle", "mountPath": _CA_FOLDER, "readOnly": True})
        given = {name: {"name": name, "value": f"{_CA_FOLDER}/ca.crt"} for name in _CA_VARIABLES}
    given |= {each["name"]: each for each in added.get("env", ())}
    kept = [each for each in worker["env"] if each["name"] not in given or each["name"] not in settings.environment]
    known = {each["name"] for each in kept}
    env = [each for name, each in given.items() if name not in known]
    worker = {
        **worker,
        "env": [*env, *kept],
        **({"envFrom": added["envFrom"]} if "envFrom" in added else {}),
        "volumeMounts": [*worker["volumeMounts"], *mounts],
    }
    pod = {
        **template["spec"],
        "containers": [worker],
        "volumes": [*template["spec"]["volumes"], *volumes],
    }
    secrets = [*pod.get("imagePullSecrets", ()), *spec.get("imagePullSecrets", ())]
    if secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in dict.fromkeys(each["name"] for each in secrets)]
    # An object's own field in spec.scheduling is more than a lab's template.
    for name in ("priorityClassName", "topologySpreadConstraints"):
        if name in spec:
            pod.setdefault(name, spec[name])
    both = {
        name: {**metadata.get(name, {}), **template["metadata"].get(name, {})} for name in ("labels", "annotations")
    }
    return {"metadata": {name: each for name, each in both.items() if each}, "spec": pod}
