"""What an API server would refuse about a generated schema, found without one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from scenewright.api.schema import INT_OR_STRING, VALIDATIONS, Schema

MAXIMUM_CRD_BYTES = 250_000
_REFUSED = ("$ref", "$defs", "const", "prefixItems", "oneOf", "allOf", "not", "patternProperties", "title", "nullable")
_LOOKAROUND = re.compile(r"\(\?[=!<]")


def nodes(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Every node of a structural schema with its path."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from nodes(schema["additionalProperties"], f"{path}{{}}")


def problems(schema: Schema) -> list[str]:
    """Everything that is wrong with the schema of a spec or a status, as ``path: what``."""
    found = [f"{path or '.'}: {what}" for path, node in nodes(schema) for what in _of_node(node)]
    found += [f"{path}: has no description" for path, node in nodes(schema) if _lacks_description(path, node)]
    if any(VALIDATIONS in node for _, node in nodes(schema)):
        found += [f"{path}: is unbounded below CEL rules" for path, node in nodes(schema) if _is_unbounded(node)]
    return found


def _of_node(node: Schema) -> Iterator[str]:
    yield from (f"{name} is refused in structural schemas" for name in _REFUSED if name in node)
    if node.get("additionalProperties") is False:
        yield "additionalProperties: false is refused"
    if "additionalProperties" in node and "properties" in node:
        yield "additionalProperties and properties exclude each other"
    if "type" not in node and INT_OR_STRING not in node:
        yield "has no type"
    for bound in ("exclusiveMinimum", "exclusiveMaximum"):
        if not isinstance(node.get(bound, True), bool):
            yield f"{bound} must be a boolean"
    if _LOOKAROUND.search(node.get("pattern", "")):
        yield "the pattern uses what RE2 lacks"
    if "anyOf" in node and INT_OR_STRING not in node:
        yield "anyOf is only accepted for int-or-string"
    yield from _of_default(node)


def _of_default(node: Schema) -> Iterator[str]:
    """A default must be complete: rules are checked on it as it is written, before the API server fills it in."""
    for name, child in node.get("properties", {}).items():
        yield from (f"the default of {name} lacks {missing}" for missing in _missing_from_default(child))
        if "default" in child and name in node.get("required", []):
            yield f"{name} is required and has a default"
    if "default" in node and "enum" in node and node["default"] not in node["enum"]:
        yield "the default is not among the allowed values"


def _missing_from_default(block: Schema) -> Iterator[str]:
    """Fields that are required or have a default of their own, and that the block's default leaves out."""
    if not isinstance(block.get("default"), dict):
        return
    for name, child in block.get("properties", {}).items():
        if name not in block["default"] and (name in block.get("required", []) or "default" in child):
            yield name


def _lacks_description(path: str, node: Schema) -> bool:
    """Items and map values are described by the field that holds them."""
    return not node.get("description") and not path.endswith(("[]", "{}"))


def _is_unbounded(node: Schema) -> bool:
    if node.get("type") == "array":
        return "maxItems" not in node
    if node.get("type") == "object" and "additionalProperties" in node:
        return "maxProperties" not in node
    if node.get("type") == "string" or INT_OR_STRING in node:
        return "maxLength" not in node and "enum" not in node
    return False


def rules(schema: Schema) -> list[tuple[str, dict[str, Any]]]:
    """Every CEL rule with the path of the block that it is about."""
    return [(path, rule) for path, node in nodes(schema) for rule in node.get(VALIDATIONS, [])]
