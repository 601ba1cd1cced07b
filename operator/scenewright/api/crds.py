"""Generates the CustomResourceDefinitions of the three kinds from the models."""

from __future__ import annotations

from typing import Any

import yaml

from scenewright.api import patterns
from scenewright.api.kinds import KINDS, MAXIMUM_NAME_LENGTH, spec_model
from scenewright.api.names import GROUP, NEXT_VERSION, PLURALS, SHORT_NAMES, VERSION
from scenewright.api.raw import Json
from scenewright.api.schema import structural_schema
from scenewright.api.status import Status
from scenewright_stages.contract.pipeline import Kind

_HEADER = "# Generated from operator/scenewright/api by `scenewright crds`; do not edit.\n"
_COLUMNS = (
    ("Pipeline", "string", ".status.pipeline", "Pipeline in use."),
    ("Phase", "string", ".status.phase", "Phase of the object."),
    ("Reason", "string", ".status.reason", "Why it waits or has failed."),
    ("Stage", "string", ".status.stage", "Running stage."),
    ("Progress", "string", ".status.progress", "Finished samples and all samples."),
    ("Failed", "integer", ".status.failed", "Samples that failed."),
    ("Rate", "string", ".status.rate", "Samples per minute."),
    ("Message", "string", ".status.message", "Explanation of the reason, or measurements of the running stage."),
    ("Age", "date", ".metadata.creationTimestamp", "Time since its creation."),
)


def crd(kind: Kind, *, built_in: bool = False) -> Json:
    """The CustomResourceDefinition of a kind, with blocks for all installed or only the built-in pipelines."""
    plural = PLURALS[kind]
    columns = [
        {"name": name, "type": type_, "jsonPath": path, "description": description}
        for name, type_, path, description in _COLUMNS
    ]
    # All versions have one schema, so that the API server converts by changing apiVersion alone.
    same = {
        "subresources": {"status": {}},
        "additionalPrinterColumns": columns,
        "schema": {"openAPIV3Schema": _root(kind, built_in)},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": [SHORT_NAMES[kind]],
                "categories": ["scenewright"],
            },
            "scope": "Namespaced",
            "conversion": {"strategy": "None"},
            "versions": [
                {"name": name, "served": True, "storage": name == VERSION, **same} for name in (VERSION, NEXT_VERSION)
            ],
        },
    }


def crd_files(*, built_in: bool = True) -> dict[str, str]:
    """File name and YAML text of every CRD; deterministic."""
    texts: dict[Kind, str] = {
        kind: yaml.dump(crd(kind, built_in=built_in), Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)
        for kind in KINDS
    }
    return {f"{PLURALS[kind]}.{GROUP}.yaml": _HEADER + text for kind, text in texts.items()}


def _root(kind: Kind, built_in: bool) -> Json:
    spec = structural_schema(spec_model(kind, built_in=built_in))
    # Names become labels and parts of Job names, so they must be short and have no dots.
    name = {"type": "string", "maxLength": MAXIMUM_NAME_LENGTH, "pattern": patterns.OBJECT_NAME}
    return {
        "type": "object",
        "description": spec["description"],
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": "Version of this schema."},
            "kind": {"type": "string", "description": "Kind of the object."},
            "metadata": {"type": "object", "properties": {"name": name}},
            "spec": spec,
            "status": _without_defaults(structural_schema(Status)),
        },
    }


def _without_defaults(node: Any) -> Any:
    """Drops all defaults: in the status they would fill every kubectl output with empty fields."""
    if isinstance(node, list):
        return [_without_defaults(each) for each in node]
    if not isinstance(node, dict):
        return node
    return {name: _without_defaults(child) for name, child in node.items() if name != "default"}


class _Dumper(yaml.SafeDumper):
    """Writes equal parts in full, except for what the versions share: an anchor keeps the file at its size."""

    def ignore_aliases(self, data: object) -> bool:
        return not (isinstance(data, dict) and "openAPIV3Schema" in data)
