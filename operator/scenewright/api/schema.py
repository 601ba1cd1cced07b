"""Translates pydantic models into structural schemas, the subset of OpenAPI that CRDs accept."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from scenewright.api.raw import Json
from scenewright_stages.contract.params import Params, Rule

Schema = Json

_BLOCK = "block"

_KEPT = (
    "type",
    "format",
    "enum",
    "pattern",
    "minimum",
    "maximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
)
PRESERVE_UNKNOWN = "x-kubernetes-preserve-unknown-fields"
INT_OR_STRING = "x-kubernetes-int-or-string"
VALIDATIONS = "x-kubernetes-validations"


def structural_schema(model: type[BaseModel]) -> Schema:
    """The structural schema of a model: references are inlined, unions and constants converted, rules written as CEL.

    Optional blocks get no default, which would create them. Other nested blocks get a default that writes out the
    defaults of their fields, because the API server validates it against the block's rules before it fills it in.
    """
    generated = model.model_json_schema(by_alias=True, mode="validation", schema_generator=_WithBlocks)
    return _Translation(generated.get("$defs", {})).block(generated)


class _WithBlocks(GenerateJsonSchema):
    """Adds each block's class to its schema, to find its rules. Class names are not unique."""

    def model_schema(self, schema: core_schema.ModelSchema) -> Schema:
        """The schema of a model as pydantic generates it, with the class if it is a block."""
        out = super().model_schema(schema)
        return {**out, _BLOCK: schema["cls"]} if issubclass(schema["cls"], Params) else out


class _Translation:
    """Translates the nodes of one generated JSON schema with its ``$defs``."""

    def __init__(self, definitions: Mapping[str, Schema]) -> None:
        self._definitions = definitions

    def node(self, source: Schema) -> Schema:
        """Translates one node; never changes `source`."""
        if "$ref" in source:
            return self._reference(source)
        if "anyOf" in source:
            return self._union(source)
        if "properties" in source:
            return self.block(source)
        return self._leaf(source)

    def block(self, source: Schema) -> Schema:
        """Translates an object with declared properties, and the rules of its model."""
        properties = {name: self.node(each) for name, each in source["properties"].items()}
        out: Schema = {"type": "object", **_described(source), "properties": properties}
        if source.get("required"):
            out["required"] = sorted(source["required"])
        rules = source[_BLOCK].rules if _BLOCK in source else ()
        if rules:
            out[VALIDATIONS] = [_validation(rule, out) for rule in rules]
        return out

    def _reference(self, source: Schema) -> Schema:
        out = self.node(self._definitions[source["$ref"].rpartition("/")[2]])
        out.update(_described(source))
        if "default" in source:
            out["default"] = _block_default(out, source["default"]) if out["type"] == "object" else source["default"]
        return out

    def _union(self, source: Schema) -> Schema:
        members = [each for each in source["anyOf"] if each.get("type") != "null"]
        if len(members) == 1:
            return {**self.node(members[0]), **_described(source)}
        if sorted(member.get("type", "") for member in members) != ["integer", "string"]:
            raise TypeError(f"a structural schema cannot express the union of {members}")
        limits = {name: member[name] for member in members for name in _KEPT if name in member and name != "type"}
        found: Schema = {INT_OR_STRING: True, "anyOf": [{"type": "integer"}, {"type": "string"}], **limits}
        return {**found, **_described(source)}

    def _leaf(self, source: Schema) -> Schema:
        out: Schema = {name: source[name] for name in _KEPT if name in source}
        out.update(_described(source))
        if "const" in source:
            out["enum"] = [source["const"]]
        _bound(out, source, "exclusiveMinimum", "minimum")
        _bound(out, source, "exclusiveMaximum", "maximum")
        if source.get("default") is not None:
            out["default"] = source["default"]
        if out.get("type") == "array":
            out["items"] = self._item(source)
        if out.get("type") == "object":
            out.update(self._map(source))
        return out

    def _item(self, source: Schema) -> Schema:
        """Items of a list. A tuple of equal members is a list of fixed length."""
        members = source.get("prefixItems")
        if members is None:
            return self.node(source["items"])
        items = [self.node(member) for member in members]
        if any(item != items[0] for item in items):
            raise TypeError("a structural schema cannot express a tuple of different members")
        return items[0]

    def _map(self, source: Schema) -> Schema:
        """A map with values of one type, or any object."""
        values = source.get("additionalProperties")
        if isinstance(values, dict):
            return {"additionalProperties": self.node(values)}
        if "patternProperties" in source:
            # A structural schema cannot constrain keys; planning checks them.
            return {"additionalProperties": self.node(next(iter(source["patternProperties"].values())))}
        return {PRESERVE_UNKNOWN: True}


def _block_default(block: Schema, given: Schema) -> Schema:
    """The defaults of all fields of a block, for objects that leave out the block.

    Raises:
        TypeError: `given`, the default of the field that holds the block, differs from the fields' own defaults. It
            would then depend on the object which of the two applies.
    """
    found = {name: copy.deepcopy(child["default"]) for name, child in block["properties"].items() if "default" in child}
    given, written = _without_empty(given), _without_empty(found)
    for name, value in given.items():
        if written.get(name) != value:
            raise TypeError(f"{name}: a block's default {value!r} must be that of its field, {written.get(name)!r}")
    return found


def _without_empty(value: Any) -> Any:
    """A default without None and empty values, which a schema leaves out."""
    if not isinstance(value, dict):
        return value
    return {name: kept for name, each in value.items() if (kept := _without_empty(each)) not in (None, [], {})}


def _described(source: Schema) -> Schema:
    """The description on one line, since `kubectl explain` wraps it."""
    text = source.get("description")
    return {"description": " ".join(text.replace("``", "").split())} if text else {}


def _bound(out: Schema, source: Schema, exclusive: str, inclusive: str) -> None:
    """Converts a numeric exclusive bound to the boolean form of OpenAPI 3.0."""
    if exclusive in source:
        out[inclusive], out[exclusive] = source[exclusive], True


def _validation(rule: Rule, block: Schema) -> Schema:
    """A CEL rule with a message that contains the value; the API server itself only reports ``"object"``."""
    out = {"rule": rule.cel, "message": rule.message, "fieldPath": f".{rule.field}"}
    node, may_be_absent = _field(rule.field, block)
    if node.get("type") != "object":
        # format() has a result of known length, so unlike string() it has a low estimated cost.
        words = rule.message.replace("\\", "\\\\").replace("'", "\\'")
        shown = '"%s"' if node.get("type") == "string" else "%s"
        with_value = f"'{shown}: {words.replace('%', '%%')}'.format([self.{rule.field}])"
        out["messageExpression"] = f"has(self.{rule.field}) ? {with_value} : '{words}'" if may_be_absent else with_value
    return out


def _field(path: str, block: Schema) -> tuple[Schema, bool]:
    """The schema of a field in a block, and whether an object may lack it."""
    node, may_be_absent = block, False
    for name in path.split("."):
        child = node["properties"][name]
        may_be_absent |= "default" not in child and name not in node.get("required", ())
        node = child
    return node, may_be_absent
