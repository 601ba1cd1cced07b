"""Protobuf's wire format without schemas: just enough to rewrite single fields of a message."""

from __future__ import annotations

Field = tuple[int, int, int | bytes]


def bytes_of(fields: list[Field], number: int) -> bytes:
    """The first field of that number that holds bytes.

    Raises:
        ValueError: if there is none.
    """
    for field_number, _, value in fields:
        if field_number == number and isinstance(value, bytes):
            return value
    raise ValueError(f"a message lacks its field {number}")


def replaced(fields: list[Field], values: dict[int, bytes]) -> list[Field]:
    """The fields, with other bytes for the field numbers that values names."""
    return [(number, wire, values.get(number, value)) for number, wire, value in fields]


def decode(body: bytes) -> list[Field]:
    """(field number, wire type, value) in file order; values of type 0 are numbers, others bytes.

    Raises:
        ValueError: for groups (obsolete) or a message that is cut off inside a number.
    """
    fields: list[Field] = []
    offset = 0
    while offset < len(body):
        key, offset = _varint(body, offset)
        wire = key & 7
        if wire == 0:
            number, offset = _varint(body, offset)
            fields.append((key >> 3, wire, number))
            continue
        if wire == 2:
            length, offset = _varint(body, offset)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError(f"protobuf wire type {wire}")
        fields.append((key >> 3, wire, body[offset : offset + length]))
        offset += length
    return fields


def encode(fields: list[Field]) -> bytes:
    """The message that these fields make; inverse of `decode`."""
    parts = []
    for number, wire, value in fields:
        parts.append(_varint_bytes(number << 3 | wire))
        if isinstance(value, int):
            parts.append(_varint_bytes(value))
        else:
            parts.append(_varint_bytes(len(value)) + value if wire == 2 else value)
    return b"".join(parts)


def _varint(body: bytes, offset: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if offset >= len(body):
            raise ValueError("a number is cut off")
        byte = body[offset]
        offset += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, offset


def _varint_bytes(value: int) -> bytes:
    parts = bytearray()
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)
