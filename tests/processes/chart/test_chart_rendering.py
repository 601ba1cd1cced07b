"""The chart as rendered: CRDs that survive, rights that are minimal, Pods that a restricted namespace admits."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pod_security
import pytest
import yaml
from chart_rendering import CHART, EVERYTHING, Object, RenderError, named, notes, render

from scenewright.execution.jobs import PodSettings, names
from scenewright.planning.lab import check_lab_defaults
from scenewright.reconcile.settings import OperatorSettings
from scenewright_stages.contract.pipeline import IMAGES

CRDS = sorted((CHART.parents[1] / "crds").glob("*.yaml"))
KINDS = ("SceneJob", "DatasetJob", "TuningRun")


@pytest.fixture(scope="module")
def default() -> list[Object]:
    return render()


@pytest.fixture(scope="module")
def everything() -> list[Object]:
    return render(EVERYTHING)


def identities(objects: list[Object]) -> list[tuple[str, str, str]]:
    return [(each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"]) for each in objects]


def test_every_object_is_named_once_and_carries_the_release(everything: list[Object]) -> None:
    found = identities(everything)
    assert len(found) == len(set(found)) > 25
    for each in everything:
        if each["kind"] != "CustomResourceDefinition":
            assert each["metadata"]["labels"]["app.kubernetes.io/instance"] == "scenewright", each["metadata"]["name"]


def test_nothing_optional_is_rendered_by_default(default: list[Object]) -> None:
    kinds = {each["kind"] for each in default}
    assert kinds == {
        "ServiceAccount",
        "ConfigMap",
        "CustomResourceDefinition",
        "ClusterRole",
        "ClusterRoleBinding",
        "Role",
        "RoleBinding",
        "Service",
        "Deployment",
    }


@pytest.mark.parametrize("path", CRDS, ids=lambda path: path.stem)
def test_crds_are_the_generated_ones_with_the_keep_policy(default: list[Object], path: Path) -> None:
    generated = yaml.safe_load(path.read_text())
    rendered = copy.deepcopy(named(default, "CustomResourceDefinition", generated["metadata"]["name"]))
    assert rendered["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
    assert rendered == generated


def test_crds_can_go_with_the_release_or_be_left_out() -> None:
    dropped = render({"crds.keep": "false"})
    assert "annotations" not in named(dropped, "CustomResourceDefinition", "scenejobs.scenewright.io")["metadata"]
    assert not [each for each in render({"crds.install": "false"}) if each["kind"] == "CustomResourceDefinition"]


def test_there_are_no_hooks_that_a_plain_apply_would_miss(everything: list[Object]) -> None:
    annotations = [name for each in everything for name in each["metadata"].get("annotations", {})]
    assert not [name for name in annotations if name.startswith("helm.sh/hook")]


@pytest.mark.parametrize("name", ["scenewright-operator", "scenewright-trial-s3"])
def test_pods_meet_the_restricted_standard_and_write_nowhere_but_to_scratch(
    everything: list[Object], name: str
) -> None:
    pod = named(everything, "Deployment", name)["spec"]["template"]["spec"]
    assert pod_security.problems(pod) == []
    assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
    loosened = copy.deepcopy(pod)
    loosened["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    assert pod_security.problems(loosened)


def test_one_operator_at_a_time_and_the_new_one_after_the_old(default: list[Object]) -> None:
    spec = named(default, "Deployment")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def test_a_changed_configuration_restarts_the_operator(default: list[Object]) -> None:
    changed = render({"operator.workers": "3"})
    marks = [named(each, "Deployment")["spec"]["template"]["metadata"]["annotations"] for each in (default, changed)]
    assert marks[0] != marks[1]


def configuration(objects: list[Object]) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(named(objects, "ConfigMap", "scenewright-operator")["data"]["operator.yaml"])
    return found


def test_the_operator_accepts_its_configuration(default: list[Object], everything: list[Object]) -> None:
    settings = pytest.importorskip("scenewright.reconcile.settings")
    for objects in (default, everything):
        settings.OperatorSettings.model_validate(configuration(objects))


def test_the_configuration_says_what_the_values_say(everything: list[Object]) -> None:
    found = configuration(everything)
    assert found["pods"]["images"] == {name: f"docker.io/scenewright/{name}:0.1.0" for name in IMAGES}
    assert found["watchNamespaces"] == ["lab-a", "lab-b"]
    assert found["progress"]["url"] == "http://scenewright-progress.system.svc:8081"
    assert found["lease"] == {"namespace": "system", "name": "scenewright-operator", "seconds": 30}


def test_images_are_named_by_digest_where_one_is_given() -> None:
    digest = f"sha256:{'a' * 64}"
    objects = render({"stages.images.gaussians.digest": digest, "operator.image.digest": digest})
    assert configuration(objects)["pods"]["images"]["gaussians"] == f"docker.io/scenewright/gaussians@{digest}"
    container = named(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == f"docker.io/scenewright/operator@{digest}"


def test_services_reach_the_named_ports_of_the_operator(default: list[Object]) -> None:
    pod = named(default, "Deployment")["spec"]["template"]
    ports = {port["name"] for port in pod["spec"]["containers"][0]["ports"]}
    for service in (each["spec"] for each in default if each["kind"] == "Service"):
        assert {port["targetPort"] for port in service["ports"]} <= ports
        assert service["selector"].items() <= pod["metadata"]["labels"].items()


def test_without_progress_there_is_neither_port_nor_service() -> None:
    objects = render({"progress.enabled": "false"})
    assert [each["metadata"]["name"] for each in objects if each["kind"] == "Service"] == ["scenewright-metrics"]
    assert configuration(objects)["progress"]["enabled"] is False


def test_the_service_monitor_selects_the_metrics_service_alone(everything: list[Object]) -> None:
    wanted = named(everything, "ServiceMonitor")["spec"]["selector"]["matchLabels"]
    chosen = [
        each["metadata"]["name"]
        for each in everything
        if each["kind"] == "Service" and wanted.items() <= each["metadata"]["labels"].items()
    ]
    assert chosen == ["scenewright-metrics"]


def test_rules_and_dashboards_are_the_files(everything: list[Object]) -> None:
    rules = yaml.safe_load((CHART / "files/alerts/scenewright.yaml").read_text())
    assert named(everything, "PrometheusRule")["spec"] == rules
    for name in ("platform", "stages", "job"):
        held = named(everything, "ConfigMap", f"scenewright-dashboard-{name}")
        assert held["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert held["data"][f"{name}.json"] == (CHART / f"files/dashboards/{name}.json").read_text()


def test_the_argo_cd_lines_hold_the_script_for_every_kind(everything: list[Object]) -> None:
    script = (CHART / "files/argocd/health.lua").read_text()
    patch = yaml.safe_load(named(everything, "ConfigMap", "scenewright-argocd")["data"]["argocd-cm-patch.yaml"])
    assert patch["data"] == {f"resource.customizations.health.scenewright.io_{kind}": script for kind in KINDS}


def test_stage_pods_reach_storage_dns_the_operator_and_nothing_else(everything: list[Object]) -> None:
    for namespace in ("lab-a", "lab-b"):
        policy = named(everything, "NetworkPolicy", "system-scenewright-stages", namespace)["spec"]
        assert policy["policyTypes"] == ["Ingress", "Egress"]
        assert {"ipBlock": {"cidr": "10.1.0.0/16"}} in [
            peer for rule in policy["egress"] for peer in rule.get("to", [])
        ]
        open_rules = [rule for rule in policy["egress"] if "to" not in rule]
        assert [sorted({port["port"] for port in rule["ports"]}) for rule in open_rules] == [[53]]


def test_without_addresses_stage_pods_reach_all_but_metadata_service_and_api_server() -> None:
    values = {
        "networkPolicy.enabled": "true",
        "watchNamespaces": "{lab}",
        "networkPolicy.apiServerCIDRs": "{10.0.0.1/32}",
    }
    policy = named(render(values), "NetworkPolicy", "system-scenewright-stages", "lab")["spec"]
    storage = next(rule for rule in policy["egress"] if rule["ports"] == [{"port": 443}])
    v4, v6 = (peer["ipBlock"] for peer in storage["to"])
    assert v4 == {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16", "10.0.0.1/32"]}
    assert "fd00:ec2::254/128" in v6["except"]


def test_metrics_are_for_the_release_s_namespace_alone_once_policies_are_on() -> None:
    policy = named(render({"networkPolicy.enabled": "true"}), "NetworkPolicy", "scenewright-operator")["spec"]
    assert {"from": [{"podSelector": {}}], "ports": [{"port": "metrics"}]} in policy["ingress"]


def test_only_the_pods_that_ask_for_a_range_by_its_name_reach_it(everything: list[Object]) -> None:
    for namespace in ("lab-a", "lab-b"):
        policy = named(everything, "NetworkPolicy", "system-scenewright-egress-language-model", namespace)["spec"]
        assert policy["podSelector"]["matchLabels"] == {names.MANAGED: "true", names.EGRESS: "language-model"}
        assert policy["policyTypes"] == ["Egress"]
        assert policy["egress"] == [
            {"to": [{"ipBlock": {"cidr": "10.3.0.0/16"}}, {"ipBlock": {"cidr": "fd00::/8"}}], "ports": [{"port": 8443}]}
        ]


def test_the_trial_storage_secret_has_the_names_that_stage_pods_take(everything: list[Object]) -> None:
    data = named(everything, "Secret")["stringData"]
    assert set(data) == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_ENDPOINT_URL"}
    assert data["AWS_ENDPOINT_URL"] == "http://scenewright-trial-s3.system.svc:7070"


@pytest.mark.parametrize(
    ("option", "value", "complaint"),
    [
        ("operator.replicas", "2", "replicas"),
        ("watchNamespace", "lab", "watchNamespace"),
        ("watchNamespaces", "{Lab_A}", "watchNamespaces"),
        ("operator.logLevel", "TRACE", "logLevel"),
        ("operator.workers", "0", "workers"),
        ("stages.jobTtlSeconds", "5", "jobTtlSeconds"),
        ("stages.user", "-1", "user"),
        ("operator.resources.requests.memory", "lots", "memory"),
        ("operator.image.digest", "sha256:12", "digest"),
        ("progress.port", "80", "port"),
        ("metrics.serviceMonitor.interval", "often", "interval"),
        ("networkPolicy.storageCIDRs", "{s3.example.org}", "storageCIDRs"),
        ("networkPolicy.egress.hub.cidrs", "{hub.example.org}", "egress.hub.cidrs"),
        ("networkPolicy.egress.hub.ports", "{443}", "cidrs"),
        ("trialStorage.enabled", "true", "secretKey"),
    ],
)
def test_wrong_values_are_refused_by_name(option: str, value: str, complaint: str) -> None:
    with pytest.raises(RenderError, match=complaint):
        render({option: value})


def leaves(values: dict[str, Any], schema: dict[str, Any], path: str = "") -> list[tuple[str, bool]]:
    """Every path of the values, and whether the schema names it."""
    found: list[tuple[str, bool]] = []
    for name, value in values.items():
        known = schema.get("properties", {}).get(name)
        found.append((f"{path}.{name}", known is not None))
        if known is not None and known.get("additionalProperties") is False and isinstance(value, dict):
            found += leaves(value, known, f"{path}.{name}")
    return found


def test_schema_and_values_name_the_same_things() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert not [path for path, known in leaves(values, schema) if not known]
    assert set(schema["properties"]) - set(values) == {"global"}


def test_the_values_name_every_setting_of_pods() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    settings = {field.alias or name for name, field in PodSettings.model_fields.items()}
    # The chart works out where progress goes.
    assert settings - {"progress"} == set(values["stages"])


@pytest.mark.parametrize(
    ("value", "setting"),
    [
        ("metrics.maxObjects", "metricsMaxObjects"),
        ("operator.workers", "workers"),
        ("operator.resyncSeconds", "resyncSeconds"),
        ("operator.statusSeconds", "statusSeconds"),
        ("operator.lease.seconds", "lease.seconds"),
        ("stages.jobTtlSeconds", "pods.jobTtlSeconds"),
        ("stages.graceSeconds", "pods.graceSeconds"),
        ("stages.stepDeadlineSeconds", "pods.stepDeadlineSeconds"),
        ("stages.storagePatienceSeconds", "pods.storagePatienceSeconds"),
        ("stages.user", "pods.user"),
    ],
)
def test_the_operator_takes_every_number_that_the_schema_of_the_values_takes(value: str, setting: str) -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    for part in value.split("."):
        schema = schema["properties"][part]
    for number in (schema["minimum"], schema["maximum"]):
        content: Any = number
        for part in reversed(setting.split(".")):
            content = {part: content}
        OperatorSettings.model_validate(content)


def test_the_notes_name_what_to_do_next(tmp_path: Path) -> None:
    text = notes(tmp_path, {"trialStorage.enabled": "true", "trialStorage.secretKey": "long-enough"})
    assert "kubectl apply --server-side" in text
    assert "scenewright-trial-s3" in text


def test_the_notes_warn_where_policies_reach_no_stage_pod(tmp_path: Path) -> None:
    policies = {"networkPolicy.enabled": "true"}
    assert "WARNING: networkPolicy.enabled protects the operator alone" in notes(tmp_path, policies)
    assert "WARNING" not in notes(tmp_path / "watched", {**policies, "watchNamespaces": "{lab}"})
    assert "WARNING" not in notes(tmp_path / "named", {**policies, "networkPolicy.stageNamespaces": "{lab}"})


def test_an_operator_of_the_whole_cluster_can_have_policies_for_the_stage_pods_of_named_namespaces() -> None:
    values = {"networkPolicy.enabled": "true", "networkPolicy.stageNamespaces": "{lab-a,lab-b}"}
    objects = render(values)
    for namespace in ("lab-a", "lab-b"):
        policy = named(objects, "NetworkPolicy", "system-scenewright-stages", namespace)["spec"]
        assert policy["podSelector"] == {"matchLabels": {"scenewright.io/managed": "true"}}
    assert not [each for each in objects if each["kind"] == "Role" and each["metadata"].get("namespace") == "lab-a"]
    assert configuration(objects)["watchNamespaces"] == []


def test_the_lab_s_defaults_reach_the_operator_as_they_are() -> None:
    objects = render({"defaults.storage.secretName": "lab-s3", "defaults.vistadream.coarse.frames": "7"})
    found = configuration(objects)["defaults"]
    assert found == {"storage": {"secretName": "lab-s3"}, "vistadream": {"coarse": {"frames": 7}}}
    check_lab_defaults(found)
    with pytest.raises(RenderError, match="defaults"):
        render({"defaults.output.uri": "s3://scenes/all"})


@pytest.mark.parametrize(("value", "named_users"), [("auto", True), ("false", True), ("true", False)])
def test_where_the_cluster_gives_users_nothing_names_one(value: str, named_users: bool) -> None:
    objects = render({"openshift": value, "trialStorage.enabled": "true", "trialStorage.secretKey": "a-long-secret"})
    contexts = [each["spec"]["template"]["spec"]["securityContext"] for each in objects if each["kind"] == "Deployment"]
    assert len(contexts) == 2 and all(("runAsUser" in each) is named_users for each in contexts)
    settings = OperatorSettings.model_validate(yaml.safe_load(config_of(objects)))
    assert settings.pods.user == (65532 if named_users else 0)


def config_of(objects: list[dict[str, Any]]) -> str:
    """The operator's configuration file."""
    return next(
        str(each["data"]["operator.yaml"])
        for each in objects
        if each["kind"] == "ConfigMap" and "operator.yaml" in each.get("data", {})
    )


def test_the_lab_says_where_namespaces_write_whether_nodes_are_added_and_how_sidecars_end() -> None:
    options = {
        "outputs.team-a[0]": "s3://scenes/team-a",
        "autoscaler": "true",
        "stages.sidecarQuitUrls[0]": "http://127.0.0.1:15020/quitquitquit",
    }
    settings = OperatorSettings.model_validate(yaml.safe_load(config_of(render(options))))
    assert settings.outputs == {"team-a": ["s3://scenes/team-a"]} and settings.autoscaler
    assert settings.pods.sidecar_quit_urls == ["http://127.0.0.1:15020/quitquitquit"]
    for wrong in ({"outputs.a[0]": "scenes"}, {"stages.sidecarQuitUrls[0]": "http://elsewhere/quit"}):
        with pytest.raises(RenderError):
            render(wrong)
