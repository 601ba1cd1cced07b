"""Writes a data set a second time as WebDataset tars or Parquet files, for training on tens of thousands of images.

Catalogues plan the shards from the sizes in the records. Publish then builds and stores one shard at a time, so memory
holds one shard. The writers are the formats' own libraries, webdataset and pyarrow. No shard holds two splits.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scenewright_stages.photographs.croissant import Column
from scenewright_stages.photographs.params import Format

SHARD_BYTES = 128 * 2**20
SHARD_ROWS = 5_000
Read = Callable[[str], bytes]
"""Returns the content of a published file."""


@dataclass(frozen=True)
class Row:
    """A sample of a data set.

    Attributes:
        key: its name, unique in the data set.
        split: the split that it belongs to.
        images: path of each image by kind.
        size: bytes of all images together.
        facts: values of the columns by name.
    """

    key: str
    split: str
    images: Mapping[str, str]
    size: int
    facts: Mapping[str, Any]


def shards(
    formats: Sequence[Format], rows: Iterable[Row], columns: Sequence[Column], read: Read
) -> dict[str, Callable[[], bytes]]:
    """Functions that build the shards, by path: ``webdataset/train-00000-of-00003.tar``, ``parquet/…parquet``.

    Args:
        formats: what to write.
        rows: in order; a shard holds neighbours of one split.
        columns: of the facts.
        read: returns the content of a published file.
    """
    writers: dict[Format, tuple[str, Callable[[Sequence[Row]], bytes]]] = {
        "webdataset": ("tar", lambda part: _tar(part, read)),
        "parquet": ("parquet", lambda part: _table(part, columns, read)),
    }
    parts = planned(rows) if formats else {}
    found: dict[str, Callable[[], bytes]] = {}
    for name in formats:
        suffix, write = writers[name]
        for split, shares in parts.items():
            for number, share in enumerate(shares):
                path = f"{name}/{split}-{number:05d}-of-{len(shares):05d}.{suffix}"
                found[path] = _later(write, share)
    return found


def planned(
    rows: Iterable[Row], most_bytes: int = SHARD_BYTES, most_rows: int = SHARD_ROWS
) -> dict[str, list[list[Row]]]:
    """The rows of each shard, by split."""
    parts: dict[str, list[list[Row]]] = {}
    sizes: dict[str, int] = {}
    for row in rows:
        shares = parts.setdefault(row.split, [])
        if not shares or sizes[row.split] + row.size > most_bytes or len(shares[-1]) >= most_rows:
            shares.append([])
            sizes[row.split] = 0
        shares[-1].append(row)
        sizes[row.split] += row.size
    return parts


def _later(write: Callable[[Sequence[Row]], bytes], part: Sequence[Row]) -> Callable[[], bytes]:
    return lambda: write(part)


def _tar(rows: Sequence[Row], read: Read) -> bytes:
    """A WebDataset tar: for each sample its images and ``json``. Times and owners are fixed, so bytes are too."""
    from webdataset import TarWriter

    content = io.BytesIO()
    with TarWriter(content, encoder=False, mtime=0.0) as writer:
        for key, row in zip(_keys(rows), rows, strict=True):
            images = {_extension(kind, path): read(path) for kind, path in row.images.items()}
            facts = json.dumps({"key": row.key, **row.facts}, ensure_ascii=False).encode()
            writer.write({"__key__": key, "json": facts, **images})
    return content.getvalue()


def _keys(rows: Sequence[Row]) -> Iterator[str]:
    """Names of files: WebDataset ends a key at its first dot, and a slash would be a folder."""
    taken: set[str] = set()
    for row in rows:
        plain = re.sub(r"[./\\]", "_", row.key)
        name, number = plain, 1
        while name in taken:
            number += 1
            name = f"{plain}_{number}"
        taken.add(name)
        yield name


def _extension(kind: str, path: str) -> str:
    """``png`` for the main image, which loaders look for by that name, else ``<kind>.png``."""
    suffix = path.rpartition(".")[2]
    return suffix if kind == "image" else f"{kind}.{suffix}"


def _table(rows: Sequence[Row], columns: Sequence[Column], read: Read) -> bytes:
    """A Parquet file in which ``datasets`` finds images, as it finds those that it wrote itself."""
    import pyarrow
    import pyarrow.parquet

    types = {
        "text": pyarrow.string(),
        "number": pyarrow.float64(),
        "integer": pyarrow.int64(),
        "numbers": pyarrow.list_(pyarrow.float64()),
    }
    image = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    kinds = list(rows[0].images)
    known = [column for column in columns if column.name in rows[0].facts]
    fields = [("key", pyarrow.string()), *((kind, image) for kind in kinds)]
    fields += [(column.name, types[column.kind]) for column in known]
    content = io.BytesIO()
    schema = pyarrow.schema(fields).with_metadata({"huggingface": json.dumps(_features(kinds, known))})
    with pyarrow.parquet.ParquetWriter(content, schema, compression="none") as writer:
        # One group of rows for each few images, so that a reader need not load a whole shard.
        for start in range(0, len(rows), _GROUP):
            group = rows[start : start + _GROUP]
            data: dict[str, list[Any]] = {"key": [row.key for row in group]}
            for kind in kinds:
                data[kind] = [{"bytes": read(row.images[kind]), "path": row.images[kind]} for row in group]
            for column in known:
                data[column.name] = [row.facts[column.name] for row in group]
            writer.write_table(pyarrow.table(data, schema=schema))
    return content.getvalue()


_GROUP = 100
_FEATURES: dict[str, Any] = {
    "text": {"dtype": "string", "_type": "Value"},
    "number": {"dtype": "float64", "_type": "Value"},
    "integer": {"dtype": "int64", "_type": "Value"},
    # Newer releases write List, which older ones refuse; all read Sequence.
    "numbers": {"feature": {"dtype": "float64", "_type": "Value"}, "_type": "Sequence"},
}


def _features(kinds: Sequence[str], columns: Sequence[Column]) -> dict[str, Any]:
    """Types of the columns as ``datasets`` stores them."""
    features: dict[str, Any] = {"key": _FEATURES["text"], **{kind: {"_type": "Image"} for kind in kinds}}
    features |= {column.name: _FEATURES[column.kind] for column in columns}
    return {"info": {"features": features}}
