"""What the API server itself refuses, through both ways in which people send objects, and what it explains."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from rule_examples import breaches, right_spec

from cluster import ControlPlane
from scenewright.api.crds import crd
from scenewright.api.kinds import KINDS
from scenewright.api.names import API_VERSION, GROUP, PLURALS, VERSION
from scenewright_stages.contract.pipeline import Kind
from scenewright_stages.pipelines import pipelines

Object = dict[str, Any]

ROOT = Path(__file__).parents[2]
SHARED: list[Object] = yaml.safe_load((Path(__file__).parent / "wrong_manifests.yaml").read_text())
PIPELINES = {"SceneJob": "vistadream", "DatasetJob": "relight"}
RIGHT: dict[Kind, Object] = {kind: right_spec(kind, PIPELINES.get(kind, "")) for kind in KINDS}
NAMESPACE = "default"


def changed(kind: Kind, changes: dict[str, Any]) -> Object:
    """The right spec of a kind with what a row of the table sets."""
    spec = copy.deepcopy(RIGHT[kind])
    for path, value in changes.items():
        *parents, last = path.split(".")
        block = spec
        for parent in parents:
            block = block.setdefault(parent, {})
        if value is None:
            block.pop(last)
        else:
            block[last] = value
    return spec


def manifest(kind: Kind, name: str, spec: Object) -> Object:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}


def breach_cases() -> list[Object]:
    """What the rules of the pipelines refuse, as rows of the table."""
    own = [breach for breach in breaches() if breach.block.path and breach.block.path[0] in pipelines(built_in=True)]
    return [
        {
            "name": f"breach-{number:03d}",
            "kind": breach.block.kind,
            "by": "cel",
            "spec": breach.spec,
            "path": breach.field,
            "value": shown(breach.rule.refuses[breach.number].get(breach.rule.field, "")),
            "allowed": breach.rule.message,
        }
        for number, breach in enumerate(own)
    ]


def shown(value: Any) -> str:
    """The beginning of a value as the API server writes it."""
    first = value[0] if isinstance(value, list) else value
    return f"{first:g}" if isinstance(first, float) else str(first).lower() if isinstance(first, bool) else str(first)


TABLE = [*({**case, "spec": changed(case["kind"], case["set"])} for case in SHARED), *breach_cases()]


def kubectl(cluster: ControlPlane, *arguments: str, text: str = "", check: bool = True) -> str:
    command = [str(cluster.kubectl), f"--kubeconfig={cluster.kubeconfig}", *arguments]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def applied(released_plane: ControlPlane) -> dict[str, str]:
    """What server-side apply says about each manifest, by name; all in one call."""
    documents = [manifest(case["kind"], case["name"], case["spec"]) for case in TABLE]
    output = kubectl(
        released_plane,
        "apply",
        "--server-side",
        "--dry-run=server",
        "-f",
        "-",
        text=yaml.dump_all(documents),
        check=False,
    )
    said: dict[str, str] = {}
    for line in output.splitlines():
        if found := re.search(rf'"([^"]+)" is invalid|\({NAMESPACE}/([^;]+);', line):
            name = found[1] or found[2]
            said[name] = ""
        said[name] += line
    return said


@pytest.fixture(scope="module")
def created(released_plane: ControlPlane) -> dict[str, str]:
    """What the Python client is told about each manifest with strict validation, by name."""
    from kubernetes import client, config

    api = client.CustomObjectsApi(config.new_client_from_config(str(released_plane.kubeconfig)))
    said: dict[str, str] = {}
    for case in TABLE:
        try:
            api.create_namespaced_custom_object(
                GROUP,
                VERSION,
                NAMESPACE,
                PLURALS[case["kind"]],
                manifest(case["kind"], case["name"], case["spec"]),
                field_validation="Strict",
                dry_run="All",
            )
        except client.ApiException as error:
            said[case["name"]] = json.loads(error.body)["message"]
    return said


@pytest.mark.parametrize("case", TABLE, ids=lambda case: case["name"])
def test_apply_refuses_with_path_value_and_what_is_allowed(applied: dict[str, str], case: Object) -> None:
    message = applied[case["name"]]
    assert case["path"] in message
    for words in [case["applied"]] if "applied" in case else [case["value"], case["allowed"]]:
        assert words in message


@pytest.mark.parametrize("case", TABLE, ids=lambda case: case["name"])
def test_the_python_client_is_refused_with_path_value_and_what_is_allowed(
    created: dict[str, str], case: Object
) -> None:
    message = created[case["name"]]
    for words in (case["path"], case["value"], case["allowed"]):
        assert words in message


def test_there_are_enough_of_each_sort() -> None:
    sorts = Counter(case["by"] for case in TABLE)
    assert sorts["cel"] >= 15
    assert sorts.total() >= 40
    assert len({case["name"] for case in TABLE}) == len(TABLE)


def test_every_rule_has_a_manifest_that_breaks_it() -> None:
    """Rules that blocks share are counted once."""
    schemas = [crd(kind, built_in=True)["spec"]["versions"][0]["schema"] for kind in KINDS]
    rules = {rule["message"] for schema in schemas for rule in _rules(schema)}
    tested = [case["allowed"] for case in TABLE if case["by"] == "cel"]
    untested = {message for message in rules if not any(words in message for words in tested)}
    assert not untested


def _rules(node: Any) -> list[Object]:
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else []
    own = node.get("x-kubernetes-validations", []) if isinstance(node, dict) else []
    return own + [
        rule for child in children if isinstance(child, dict | list) for rule in _rules(child) if child is not own
    ]


@pytest.mark.parametrize("kind", RIGHT)
def test_right_manifests_are_accepted(released_plane: ControlPlane, kind: Kind) -> None:
    text = yaml.safe_dump(manifest(kind, "right", RIGHT[kind]))
    assert "serverside-applied" in kubectl(
        released_plane, "apply", "--server-side", "--dry-run=server", "-f", "-", text=text
    )


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_examples_are_accepted_with_places_in_a_bucket(released_plane: ControlPlane, path: Path) -> None:
    example = yaml.safe_load(path.read_text())
    example["metadata"]["namespace"] = NAMESPACE
    for end in {"input", "output"} & set(example["spec"]):
        example["spec"][end]["uri"] = f"s3://bucket/{end}"
    for name, pipeline in pipelines(example["kind"]).items():
        for path_of_uri in pipeline.uri_parameters if name in example["spec"] else ():
            block, leaf = path_of_uri.split(".")
            if leaf in example["spec"][name].get(block, {}):
                example["spec"][name][block][leaf] = "s3://bucket/prompts.txt"
    kubectl(released_plane, "apply", "--server-side", "--dry-run=server", "-f", "-", text=yaml.safe_dump(example))


@pytest.mark.parametrize("kind", RIGHT)
def test_explain_shows_every_field(released_plane: ControlPlane, kind: Kind) -> None:
    text = kubectl(released_plane, "explain", kind.lower(), "--recursive")
    shown = Counter(re.findall(r"^ +(\w+)\t", text, flags=re.MULTILINE))
    schema = crd(kind, built_in=True)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    wanted = Counter(name for part in ("spec", "status") for name in _names({"properties": {part: schema[part]}}))
    assert not wanted - shown


def _names(schema: Object) -> list[str]:
    found = []
    for name, child in schema.get("properties", {}).items():
        found += [name, *_names(child)]
    for inner in ("items", "additionalProperties"):
        if isinstance(schema.get(inner), dict):
            found += _names(schema[inner])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", RIGHT)
def test_explain_describes_every_field(released_plane: ControlPlane, kind: Kind) -> None:
    schema = crd(kind, built_in=True)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    missing = []
    for path, block in _blocks(schema, f"{kind.lower()}.spec"):
        text = " ".join(kubectl(released_plane, "explain", path).split())
        missing += [
            f"{path}.{name}" for name, field in block.items() if " ".join(field["description"].split()) not in text
        ]
    assert not missing


def _blocks(schema: Object, path: str) -> list[tuple[str, Object]]:
    """Every block with fields, with its path as `kubectl explain` takes it."""
    found = [(path, schema["properties"])] if "properties" in schema else []
    for name, child in schema.get("properties", {}).items():
        found += _blocks(child, f"{path}.{name}")
    for inner in ("items", "additionalProperties"):
        if isinstance(schema.get(inner), dict):
            found += _blocks(schema[inner], path)
    return found
