"""The restricted Pod Security Standard (Kubernetes 1.34) as a function over a Pod spec."""

from __future__ import annotations

from typing import Any

_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
_SECCOMP = ("RuntimeDefault", "Localhost")


def problems(spec: dict[str, Any]) -> list[str]:
    """What an enforcing namespace would refuse about this Pod spec; empty when it is admitted."""
    pod = spec.get("securityContext", {})
    found = [f"{name} is set" for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    for volume in spec.get("volumes", []):
        found += [f"volume type {kind}" for kind in volume if kind != "name" and kind not in _VOLUMES]
    for container in spec.get("initContainers", []) + spec["containers"]:
        found += [f"{container['name']}: {problem}" for problem in _container(container, pod)]
    return found


def _container(container: dict[str, Any], pod: dict[str, Any]) -> list[str]:
    own = container.get("securityContext", {})
    effective = {**pod, **own}
    found = []
    if own.get("privileged") or own.get("procMount", "Default") != "Default":
        found.append("privileged or procMount")
    if own.get("allowPrivilegeEscalation") is not False:
        found.append("allowPrivilegeEscalation must be false")
    if effective.get("runAsNonRoot") is not True or effective.get("runAsUser") == 0:
        found.append("must not run as root")
    if effective.get("seccompProfile", {}).get("type") not in _SECCOMP:
        found.append("seccompProfile must be RuntimeDefault or Localhost")
    capabilities = own.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", []) or set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
        found.append("capabilities must drop ALL")
    if any("hostPort" in port for port in container.get("ports", [])):
        found.append("hostPort")
    return found
