"""What the operator may do: the list is here, and the chart renders it and nothing more."""

from __future__ import annotations

import copy

import pytest
from chart_rendering import EVERYTHING, Object, named, render

OBJECTS = ("scenejobs", "datasetjobs", "tuningruns")
IN_NAMESPACES: set[tuple[str, str, str]] = {
    *(("scenewright.io", kind, verb) for kind in OBJECTS for verb in ("list", "watch", "delete")),
    *(("scenewright.io", f"{kind}/status", "patch") for kind in OBJECTS),
    *(("batch", "jobs", verb) for verb in ("get", "list", "watch", "create", "patch", "delete")),
    ("", "pods", "list"),
    ("", "pods", "watch"),
    ("", "pods/status", "patch"),
    ("", "events", "create"),
    ("", "events", "list"),
    ("", "persistentvolumeclaims", "get"),
    *(("scenewright.io", f"{kind}/finalizers", "update") for kind in OBJECTS),
}
IN_CLUSTER: set[tuple[str, str, str]] = {("", "nodes", "get"), ("", "nodes", "list")}
OF_KUEUE = {
    ("kueue.x-k8s.io", "workloads", "get"),
    ("kueue.x-k8s.io", "workloads", "list"),
    ("kueue.x-k8s.io", "localqueues", "get"),
}
KEYS_OF_TOKENS = {"/openid/v1/jwks", "/.well-known/openid-configuration"}


def granted(role: Object) -> set[tuple[str, str, str]]:
    """Every (group, resource, verb) of a role; a resource of one name is written resource:name."""
    return {
        (group, f"{resource}:{name}" if name else resource, verb)
        for rule in role["rules"]
        for group in rule.get("apiGroups", [])
        for resource in rule.get("resources", [])
        for verb in rule["verbs"]
        for name in rule.get("resourceNames", [""])
    }


def test_cluster_wide_rights_are_exactly_the_list() -> None:
    role = named(render(), "ClusterRole", "system-scenewright")
    assert granted(role) == IN_NAMESPACES | IN_CLUSTER
    urls = [url for rule in role["rules"] for url in rule.get("nonResourceURLs", [])]
    assert set(urls) == KEYS_OF_TOKENS


def test_a_namespaced_operator_has_no_right_elsewhere_but_to_look_at_nodes() -> None:
    objects = render(EVERYTHING)
    assert granted(named(objects, "ClusterRole", "system-scenewright")) == IN_CLUSTER
    for namespace in ("lab-a", "lab-b"):
        assert granted(named(objects, "Role", namespace=namespace)) == IN_NAMESPACES | OF_KUEUE
        binding = named(objects, "RoleBinding", namespace=namespace)
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "scenewright", "namespace": "system"}]


def test_nodes_can_be_withheld() -> None:
    role = named(render({"rbac.nodes": "false"}), "ClusterRole", "system-scenewright")
    assert granted(role) == IN_NAMESPACES


def test_only_its_own_lease_can_be_taken() -> None:
    role = named(render(), "Role", "scenewright-lease")
    lease = {("coordination.k8s.io", "leases:scenewright-operator", verb) for verb in ("get", "update")}
    assert granted(role) == {("coordination.k8s.io", "leases", "create"), *lease}


def forbidden(objects: list[Object]) -> list[str]:
    """Rights that no part of the chart may grant to anybody."""
    roles = [each for each in objects if each["kind"] in ("Role", "ClusterRole")]
    found = []
    for group, resource, verb in set().union(*(granted(role) for role in roles)):
        if "*" in (group, resource, verb) or resource in (
            "secrets",
            "configmaps",
            "pods/exec",
            "serviceaccounts/token",
        ):
            found.append(f"{group}/{resource} {verb}")
        if resource == "pods" and verb not in ("list", "watch"):
            found.append(f"pods {verb}")
    return found


@pytest.mark.parametrize("options", [{}, EVERYTHING], ids=["default", "everything"])
def test_nobody_gets_secrets_wildcards_or_writes_to_pods(options: dict[str, str]) -> None:
    objects = render(options)
    assert forbidden(objects) == []
    widened = copy.deepcopy(objects)
    rule = {"apiGroups": [""], "resources": ["secrets", "pods"], "verbs": ["get"]}
    next(each for each in widened if each["kind"] == "ClusterRole")["rules"].append(rule)
    assert sorted(forbidden(widened)) == ["/secrets get", "pods get"]


def test_owner_references_with_enforcement_have_the_right_that_they_need_unless_it_is_not_wanted() -> None:
    """OpenShift has that admission plugin, and nobody finds the reason of its refusals."""
    wanted = {("scenewright.io", f"{kind}/finalizers", "update") for kind in OBJECTS}
    for value in ("true", "false"):
        options = {"rbac.ownerReferencesPermissionEnforcement": value}
        role = granted(named(render(options), "ClusterRole", "system-scenewright"))
        assert role & wanted == (wanted if value == "true" else set())


def test_namespaces_by_label_need_one_right_more() -> None:
    role = named(render({"watchNamespaceSelector": "scenewright=served"}), "ClusterRole", "system-scenewright")
    assert granted(role) == IN_NAMESPACES | IN_CLUSTER | {("", "namespaces", "list")}


def test_users_get_the_kinds_through_the_built_in_roles() -> None:
    objects = render()
    labels = named(objects, "ClusterRole", "system-scenewright-edit")["metadata"]["labels"]
    assert labels["rbac.authorization.k8s.io/aggregate-to-edit"] == "true"
    assert {verb for _, _, verb in granted(named(objects, "ClusterRole", "system-scenewright-view"))} == {
        "get",
        "list",
        "watch",
    }
