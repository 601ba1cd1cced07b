"""Writes ``croissant.json`` (MLCommons Croissant 1.0) for an image data set with one ``metadata.jsonl`` line per image.

It includes the fields of Croissant RAI 1.0 that conferences ask for: limits, biases, personal information, uses,
impact, synthetic data and provenance.

The lines form one record set, and every kind of image forms another with the same ids, because mlcroissant cannot join
several file sets to the same lines.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from scenewright_stages.photographs.card import About

METADATA = "metadata.jsonl"
CROISSANT = "croissant.json"

_TYPES = {"text": "sc:Text", "number": "sc:Float", "integer": "sc:Integer", "numbers": "sc:Float"}
_ID = "@id"
_CONTEXT = Path(__file__).with_name("croissant_context.json")
"""The context of the specification, version 1.0."""


@dataclass(frozen=True)
class Column:
    """A column of ``metadata.jsonl``; type ``numbers`` is a list of numbers."""

    name: str
    kind: Literal["text", "number", "integer", "numbers"]
    description: str


@dataclass(frozen=True)
class ImageKind:
    """Images of one kind.

    Attributes:
        name: of the kind.
        folder: that contains them, as ``<id>_<name>.png`` unless `includes` and `path` are set.
        description: a sentence.
        includes: glob pattern of their paths.
        path: regular expression of their paths, with one group for the id.
        records: name of their record set; defaults to the name plus "s".
    """

    name: str
    folder: str
    description: str
    includes: str = ""
    path: str = ""
    records: str = ""


def croissant(about: About, columns: Sequence[Column], images: Sequence[ImageKind], metadata: bytes) -> bytes:
    """The Croissant description of a data set; deterministic.

    Args:
        about: name, description and what the RAI fields say.
        columns: of ``metadata.jsonl``; one is called ``id``.
        images: kinds of images.
        metadata: content of ``metadata.jsonl``.
    """
    content = {
        "@context": json.loads(_CONTEXT.read_text(encoding="utf-8")),
        "@type": "sc:Dataset",
        "name": about.name,
        "description": about.description,
        "conformsTo": ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"],
        **({"license": about.licence()} if about.licence() else {}),
        **_responsible(about),
        "distribution": [_metadata_file(metadata), *(_file_set(kind) for kind in images)],
        "recordSet": [_main_set(columns), *(_image_set(kind) for kind in images)],
    }
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def _responsible(about: About) -> dict[str, Any]:
    """Fields of Croissant RAI, and of PROV for what the data set was made from and by."""
    models = [
        {"@type": "prov:SoftwareAgent", "name": one.model or one.backend, "version": one.revision or "classic"}
        for one in about.models
    ]
    return {
        "rai:dataCollection": " ".join(about.how),
        "rai:dataCollectionType": ["Synthetic data generation"],
        "rai:dataAnnotationProtocol": about.labels,
        "rai:dataLimitations": list(about.limits),
        "rai:dataBiases": about.biases,
        "rai:personalSensitiveInformation": about.personal,
        "rai:dataUseCases": about.uses,
        "rai:dataSocialImpact": about.impact,
        "rai:hasSyntheticData": True,
        "prov:wasDerivedFrom": [{"@type": "prov:Entity", "name": origin.name} for origin in about.origins],
        "prov:wasGeneratedBy": {
            "@type": "prov:Activity",
            "name": "Scenewright",
            **({"prov:wasAssociatedWith": models} if models else {}),
        },
    }


def _metadata_file(metadata: bytes) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": METADATA,
        "name": METADATA,
        "description": "One line for each sample.",
        "contentUrl": METADATA,
        "encodingFormat": "application/jsonlines",
        "sha256": hashlib.sha256(metadata).hexdigest(),
    }


def _file_set(kind: ImageKind) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": _set_name(kind),
        "name": _set_name(kind),
        "description": kind.description,
        "encodingFormat": "image/png",
        "includes": kind.includes or f"{kind.folder}/*_{kind.name}.png",
    }


def _main_set(columns: Sequence[Column]) -> dict[str, Any]:
    fields = [_column_field(column) for column in columns]
    return {"@type": "cr:RecordSet", "@id": "samples", "name": "samples", "key": {_ID: "samples/id"}, "field": fields}


def _column_field(column: Column) -> dict[str, Any]:
    field: dict[str, Any] = {
        "@type": "cr:Field",
        "@id": f"samples/{column.name}",
        "name": column.name,
        "description": column.description,
        "dataType": _TYPES[column.kind],
        "source": {"fileObject": {_ID: METADATA}, "extract": {"column": column.name}},
    }
    if column.kind == "numbers":
        field["repeated"] = True
    return field


def _image_set(kind: ImageKind) -> dict[str, Any]:
    """Record set of images, keyed by the id in their file names."""
    name = kind.records or f"{kind.name}s"
    of_path = {
        "fileSet": {_ID: _set_name(kind)},
        "extract": {"fileProperty": "fullpath"},
        "transform": {"regex": kind.path or f"{re.escape(kind.folder)}/(.*)_{kind.name}\\.png$"},
    }
    identity = {
        "@type": "cr:Field",
        "@id": f"{name}/id",
        "name": "id",
        "description": "Id of the sample, or of the photograph that samples with several lights share.",
        "dataType": "sc:Text",
        "source": of_path,
    }
    image = {
        "@type": "cr:Field",
        "@id": f"{name}/image",
        "name": "image",
        "description": kind.description,
        "dataType": "sc:ImageObject",
        "source": {"fileSet": {_ID: _set_name(kind)}, "extract": {"fileProperty": "content"}},
    }
    fields = [identity, image]
    return {"@type": "cr:RecordSet", "@id": name, "name": name, "key": {_ID: f"{name}/id"}, "field": fields}


def _set_name(kind: ImageKind) -> str:
    return f"{kind.name}-images"
