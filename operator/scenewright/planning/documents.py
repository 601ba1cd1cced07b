"""Parses manifests into raw documents: YAML 1.1 as in Kubernetes, but duplicate keys are refused."""

from __future__ import annotations

from collections.abc import Sequence
from os.path import normpath
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic.alias_generators import to_camel

from scenewright.api.kinds import KINDS
from scenewright.api.raw import Json, RawJson
from scenewright.planning.problems import ABSENT, Problem, SpecError, suggestion
from scenewright_stages.contract.pipeline import Kind
from scenewright_stages.pipelines import pipelines

_URI_BLOCKS = ("input", "output", "dataset")
_LOADER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _StrictLoader(_LOADER):  # type: ignore[misc]
    """Refuses duplicate keys: PyYAML would silently drop all but the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[object, object]:
        keys: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in keys:
                line = key_node.start_mark.line + 1
                raise SpecError([Problem(f"line {line}", key, "is given twice; keep one of them")])
            keys.add(key)
        mapping: dict[object, object] = super().construct_mapping(node, deep)
        return mapping


def parse_documents(text: str) -> list[Json]:
    """The documents of our kinds in a YAML or JSON text.

    Raises:
        SpecError: invalid YAML, a document that is not an object, or no document of our kinds.
    """
    try:
        documents = [document for document in yaml.load_all(text, Loader=_StrictLoader) if document is not None]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise SpecError([Problem(where, ABSENT, f"not valid YAML: {getattr(error, 'problem', error)}")]) from error
    if not documents:
        raise SpecError([Problem("", ABSENT, f"the file holds no document; kinds: {', '.join(KINDS)}")])
    for document in documents:
        if not isinstance(document, dict):
            raise SpecError([Problem("", document, "a document must be an object with apiVersion, kind and spec")])
    ours = [document for document in documents if document.get("kind") in KINDS]
    if not ours:
        raise SpecError([Problem("kind", documents[0].get("kind", ABSENT), f"must be one of {', '.join(KINDS)}")])
    return ours


def kind_of(document: RawJson) -> Kind:
    """The document's kind.

    Raises:
        SpecError: it is not one of our kinds.
    """
    kind = document.get("kind")
    if kind not in KINDS:
        raise SpecError([Problem("kind", kind, suggestion(str(kind), list(KINDS)))])
    return cast(Kind, kind)


def with_absolute_uris(document: Json, folder: Path) -> Json:
    """The document with relative paths made absolute below `folder`.

    These are the ``uri`` of input, output and data set, and the parameters that a pipeline declares as URIs.
    """
    spec = document.get("spec")
    if not isinstance(spec, dict):
        return document
    known = pipelines(kind_of(document)) if document.get("kind") in KINDS else {}
    paths = [f"{name}.uri" for name in _URI_BLOCKS]
    paths += [f"{name}.{path}" for name, pipeline in known.items() for path in pipeline.uri_parameters]
    for path in paths:
        name, *below = path.split(".")
        place = (name, *map(to_camel, below))
        if isinstance(given := value_at(spec, *place), str):
            spec = with_value(spec, place, absolute_uri(given, folder))
    return {**document, "spec": spec}


def absolute_uri(uri: str, folder: Path) -> str:
    """``file:///…`` for a path; relative paths are below `folder`. URIs stay as they are."""
    if "://" in uri or not uri:
        return uri
    path = Path(uri).expanduser()
    # Only as text: symbolic links are not resolved.
    return Path(normpath(folder.absolute() / path)).as_uri() + ("/" if uri.endswith("/") else "")


def with_value(node: object, path: Sequence[str], value: object) -> Any:
    """A copy of the raw tree with the value set at `path`; creates missing blocks on the way."""
    if not path:
        return value
    base = dict(node) if isinstance(node, dict) else {}
    base[path[0]] = with_value(base.get(path[0]), path[1:], value)
    return base


def value_at(node: object, *path: str, missing: object = None) -> Any:
    """The value at a path of the raw tree; `missing` if there is none."""
    for name in path:
        node = node.get(name, missing) if isinstance(node, dict) else missing
    return node
