"""The weights in an ONNX file, without the package onnx: its initialisers, and nothing else.

An ONNX file is a protocol buffer: fields, each a number and a value. Of a model's fields 7 is the
graph, of a graph's 5 an initialiser, of that 1 its sizes, 2 its type, 8 its name, 9 its numbers.

Source: the encoding of protocol buffers, and onnx.proto.
"""

from collections.abc import Iterator
from math import prod

import numpy as np

from mcore.arrays import Array
from mcore.errors import SnapshotError

GRAPH, INITIALISER, SIZES, TYPE, NAME, NUMBERS = 7, 5, 1, 2, 8, 9

TYPES = {1: "<f4", 10: "<f2", 11: "<f8"}
"""Types of floating-point numbers; arrays of others are left out."""

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""How a value is encoded."""


def parse_onnx(where: str, content: bytes) -> dict[str, Array]:
    """The floating-point initialisers of a model's content, by name; `where` is for the error.

    Raises:
        SnapshotError: the content is cut short or not an ONNX model.
    """
    try:
        arrays = [
            _array(dict(tensor), [x for number, x in tensor if number == SIZES])
            for graph in _of(content, GRAPH)
            for tensor in map(list, map(_fields, _of(graph, INITIALISER)))
        ]
        found = {name: array for name, array in arrays if array is not None}
    except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise SnapshotError(f"{where}: is cut short or not an ONNX model ({error})") from None
    if not found:
        raise SnapshotError(f"{where}: has no initialisers; a file with weights in it would do")
    return found


def _array(tensor: dict[int, bytes | int], sizes: list[bytes | int]) -> tuple[str, Array | None]:
    """Name and array of an initialiser, whose sizes come one by one or packed."""
    name, kind, numbers = tensor[NAME], tensor[TYPE], tensor.get(NUMBERS)
    if not isinstance(name, bytes):
        raise ValueError("a name is not text")
    if kind not in TYPES or not isinstance(numbers, bytes):
        return "", None
    shape = [n for size in sizes for n in ([size] if isinstance(size, int) else _packed(size))]
    array = np.frombuffer(numbers, TYPES[kind])
    if array.size != prod(shape):
        raise ValueError(f"{name.decode()} has {array.size} numbers for {shape}")
    return name.decode(), array.reshape(shape)


def _of(message: bytes, wanted: int) -> Iterator[bytes]:
    """The values of a message's fields with this number."""
    for number, value in _fields(message):
        if number == wanted and isinstance(value, bytes):
            yield value


def _fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Number and value of each field."""
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        number, encoding = tag >> 3, tag & 7
        if encoding == VARINT:
            value, place = _varint(message, place)
            yield number, value
            continue
        if encoding == BYTES:
            size, place = _varint(message, place)
        elif encoding in (FIXED32, FIXED64):
            size = 4 if encoding == FIXED32 else 8
        else:
            raise ValueError(f"a field is encoded as {encoding}")
        if place + size > len(message):
            raise ValueError("a field ends behind the file")
        yield number, message[place : place + size]
        place += size


def _packed(values: bytes) -> list[int]:
    found, place = [], 0
    while place < len(values):
        value, place = _varint(values, place)
        found.append(value)
    return found


def _varint(message: bytes, place: int) -> tuple[int, int]:
    """A whole number, 7 bits a byte, and the place behind it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = message[place]
        value |= (byte & 127) << shift
        place += 1
        if byte < 128:
            return value, place
    raise ValueError("a number does not end")
