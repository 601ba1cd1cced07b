"""Gives a Rerun recording the same bytes whenever it holds the same data.

The SDK cannot do it: it names chunks and rows by the clock and random numbers, draws a random id for
the blueprint's store, stamps blueprint rows with the time, and notes the exact version of Python. This
module rewrites just these things in a finished file.

An RRD file ("RRF2", Rerun 0.2x to 0.4x) is a 12-byte header and then messages: kind and length as
two little-endian uint64, and a protobuf message. Messages without a known kind are refused rather
than passed on, so that a new file version is noticed at once.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from scenewright_stages.report.protobuf_wire import Field, bytes_of, decode, encode, replaced

_HEADER_BYTES = 12
_MAGIC = b"RRF2"
_MESSAGE_HEADER = struct.Struct("<QQ")
_END, _SET_STORE_INFO, _ARROW_MESSAGE, _BLUEPRINT_ACTIVATION = range(4)
_BLUEPRINT_STORE = 2
_LZ4 = 2
_ROW_ID_COLUMN = b"rerun.datatypes.TUID"
_CLOCK_TIMELINE = "log_time"
_COLUMN_KINDS = (b"control", b"index", b"data")
# StoreSource: 1 = kind (2: the Python SDK), 2 = details, whose 1 = PythonVersion (1 = major). A laptop's
# and an image's Python differ in the last digit.
_PYTHON_SDK = encode([(1, 0, 2), (2, 2, encode([(1, 2, encode([(1, 0, 3)]))]))])


class RrdFormatError(ValueError):
    """The bytes are not the kind of RRD file that this module understands."""


@dataclass(frozen=True)
class _Chunk:
    """A decoded chunk of one store."""

    store: bytes
    is_static: int
    batch: pa.RecordBatch

    @property
    def is_blueprint(self) -> bool:
        """Whether it describes the layout and not the data."""
        return _is_blueprint(self.store)

    @property
    def sort_key(self) -> tuple[bytes, bytes]:
        """Entity path, then the time-ordered id of the first row."""
        path = (self.batch.schema.metadata or {}).get(b"rerun:entity_path", b"")
        return path, self.batch.column(_row_id_index(self.batch))[0].as_py()


def canonical_rrd(data: bytes, blueprint_id: str) -> bytes:
    """The recording with ids that depend on nothing but its content.

    Args:
        data: an RRD file as the SDK wrote it. Its footer is dropped: readers do without.
        blueprint_id: name of the blueprint's store.

    Raises:
        RrdFormatError: for anything but such a file.
    """
    if data[:4] != _MAGIC:
        raise RrdFormatError(f"an RRD file starts with {_MAGIC!r}, not {data[:4]!r}")
    infos: list[bytes] = []
    chunks: list[_Chunk] = []
    activations: list[bytes] = []
    for kind, body in _messages(data):
        fields = decode(body)
        if kind == _SET_STORE_INFO:
            infos.append(_canonical_store_info(fields, blueprint_id))
        elif kind == _ARROW_MESSAGE:
            chunks.append(_decode_chunk(fields, blueprint_id))
        elif kind == _BLUEPRINT_ACTIVATION:
            activations.append(encode(replaced(fields, {1: _canonical_store(fields, 1, blueprint_id)})))
    return data[:_HEADER_BYTES] + b"".join(_written(infos, chunks, activations))


def _written(infos: list[bytes], chunks: list[_Chunk], activations: list[bytes]) -> Iterator[bytes]:
    """Messages in an order that viewers can stream: stores, blueprint, its activation, data."""
    yield from (_message(_SET_STORE_INFO, info) for info in sorted(set(infos)))
    blueprint = sorted((chunk for chunk in chunks if chunk.is_blueprint), key=lambda chunk: chunk.sort_key)
    recording = sorted((chunk for chunk in chunks if not chunk.is_blueprint), key=lambda chunk: chunk.sort_key)
    yield from _numbered(blueprint, 0)
    yield from (_message(_BLUEPRINT_ACTIVATION, body) for body in activations)
    yield from _numbered(recording, len(blueprint))
    yield _message(_END, b"")


def _numbered(chunks: list[_Chunk], first_number: int) -> Iterator[bytes]:
    rows = 0
    for number, chunk in enumerate(chunks, start=first_number + 1):
        yield _message(_ARROW_MESSAGE, _encode_chunk(chunk, number, rows))
        rows += chunk.batch.num_rows


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = _HEADER_BYTES
    while offset < len(data):
        if offset + _MESSAGE_HEADER.size > len(data):
            raise RrdFormatError(f"message header at byte {offset} is cut off")
        kind, length = _MESSAGE_HEADER.unpack_from(data, offset)
        offset += _MESSAGE_HEADER.size
        if kind == _END:
            # What follows is the optional footer: an index of byte offsets, which no longer hold.
            return
        if kind > _BLUEPRINT_ACTIVATION or offset + length > len(data):
            raise RrdFormatError(f"unknown or truncated message of kind {kind} before byte {offset}")
        yield kind, data[offset : offset + length]
        offset += length


def _message(kind: int, body: bytes) -> bytes:
    return _MESSAGE_HEADER.pack(kind, len(body)) + body


def _canonical_store_info(fields: list[Field], blueprint_id: str) -> bytes:
    """SetStoreInfo: 1 = row id, 2 = StoreInfo, whose 2 = store id and 5 = what wrote it."""
    info = decode(bytes_of(fields, 2))
    info = replaced(info, {2: _canonical_store(info, 2, blueprint_id), 5: _PYTHON_SDK})
    return encode(replaced(fields, {1: _tuid(0), 2: encode(info)}))


def _canonical_store(fields: list[Field], number: int, blueprint_id: str) -> bytes:
    """StoreId: 1 = kind, 2 = recording id, 3 = application id."""
    store = bytes_of(fields, number)
    if not _is_blueprint(store):
        return store
    return encode(replaced(decode(store), {2: blueprint_id.encode("utf-8")}))


def _is_blueprint(store: bytes) -> bool:
    return any(number == 1 and value == _BLUEPRINT_STORE for number, _, value in decode(store))


def _decode_chunk(fields: list[Field], blueprint_id: str) -> _Chunk:
    """ArrowMsg: 1 = store id, 2 = compression, 3 = size, 5 = Arrow IPC stream, 7 = is static."""
    values = {number: value for number, _, value in fields}
    payload = bytes_of(fields, 5)
    if values.get(2) == _LZ4:
        payload = pa.Codec("lz4_raw").decompress(payload, decompressed_size=values[3], asbytes=True)
    batches = list(pa.ipc.open_stream(payload))
    if len(batches) != 1:
        raise RrdFormatError(f"a chunk holds {len(batches)} record batches, expected 1")
    store = _canonical_store(fields, 1, blueprint_id)
    return _Chunk(store, int(values.get(7, 0)), _without_clock(batches[0]))


def _encode_chunk(chunk: _Chunk, number: int, first_row: int) -> bytes:
    batch = _canonical_batch(chunk.batch, number, first_row)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    plain = sink.getvalue().to_pybytes()
    packed = pa.Codec("lz4_raw").compress(plain, asbytes=True)
    fields: list[Field] = [(1, 2, chunk.store), (2, 0, _LZ4), (3, 0, len(plain)), (4, 0, 1), (5, 2, packed)]
    return encode([*fields, (6, 2, _tuid(number)), (7, 0, chunk.is_static)])


def _without_clock(batch: pa.RecordBatch) -> pa.RecordBatch:
    kept = [index for index, name in enumerate(batch.schema.names) if name != _CLOCK_TIMELINE]
    return batch.select(kept)


def _canonical_batch(batch: pa.RecordBatch, number: int, first_row: int) -> pa.RecordBatch:
    """The batch with sequential ids and its columns by kind and name."""
    names = [field.name for field in sorted(batch.schema, key=_column_order)]
    row_ids = b"".join((first_row + row + 1).to_bytes(16, "big") for row in range(batch.num_rows))
    columns = []
    for name in names:
        field = batch.schema.field(name)
        is_row_id = name == _row_id_name(batch)
        column = _fixed_size_binary(row_ids, batch.num_rows) if is_row_id else batch.column(name)
        columns.append((field, column))
    metadata = {**(batch.schema.metadata or {}), b"rerun:id": b"chunk_%032X" % number}
    schema = pa.schema([field for field, _ in columns], metadata=metadata)
    return pa.RecordBatch.from_arrays([column for _, column in columns], schema=schema)


def _column_order(field: pa.Field) -> tuple[int, str]:
    """Readers demand control columns first, then indices, then data."""
    kind = (field.metadata or {}).get(b"rerun:kind", b"")
    if kind not in _COLUMN_KINDS:
        raise RrdFormatError(f"column {field.name!r} is of the unknown kind {kind!r}")
    return _COLUMN_KINDS.index(kind), field.name


def _row_id_index(batch: pa.RecordBatch) -> int:
    for index, field in enumerate(batch.schema):
        if (field.metadata or {}).get(b"ARROW:extension:name") == _ROW_ID_COLUMN:
            return index
    raise RrdFormatError(f"a chunk without row ids: {batch.schema.names}")


def _row_id_name(batch: pa.RecordBatch) -> str:
    return str(batch.schema.names[_row_id_index(batch)])


def _fixed_size_binary(data: bytes, count: int) -> pa.Array:
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), count, [None, pa.py_buffer(data)])


def _tuid(number: int) -> bytes:
    """Tuid: 1 = time in ns, 2 = counter, both fixed64."""
    return struct.pack("<BQBQ", 0x09, 0, 0x11, number)
