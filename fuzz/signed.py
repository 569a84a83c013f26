"""Hostile snapshots: safetensors files changed in one place, with a digest that fits again."""

import json
import random
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from fuzz.mutate import NUMBERS, WORDS, change_bytes, change_json
from fuzz.yaml_text import change_yaml
from mcore.snapshot import _digest

_DTYPES = ("F64", "F32", "F16", "BF16", "I64", "I32", "U16", "I8", "U8", "BOOL", "F8_E4M3", "C64")
_NUMPY = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "U16": "<u2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}
Header = dict[str, Any]


def opened(data: bytes) -> tuple[Header, bytes] | None:
    """Header and payload, if the file has a header that is a JSON mapping."""
    if len(data) < 8:
        return None
    size = struct.unpack("<Q", data[:8])[0]
    try:
        header = json.loads(data[8 : 8 + size])
    except (ValueError, RecursionError):
        return None
    if not isinstance(header, dict):
        return None
    metadata = header.get("__metadata__")
    if isinstance(metadata, dict):  # its order is by chance
        header["__metadata__"] = dict(sorted(metadata.items()))
    return header, data[8 + size :]


def closed(header: Header, payload: bytes) -> bytes:
    """The file again."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + payload


def signed(header: Header, payload: bytes) -> bytes:
    """The file with the digest that its content asks for, where that can be told."""
    metadata = header.get("__metadata__")
    if isinstance(metadata, dict):
        try:
            kept = {key: value for key, value in metadata.items() if key != "digest"}
            digest = _digest(_arrays(header, payload), kept)
            header = {**header, "__metadata__": {**kept, "digest": digest}}
        except (ValueError, TypeError, KeyError, IndexError, OverflowError, MemoryError):
            pass
    return closed(header, payload)


def change_signed(data: bytes, rng: random.Random) -> bytes:
    """A hostile neighbour of a snapshot, mostly with a digest that fits."""
    parts = opened(data)
    if parts is None or rng.random() < 0.05:
        return change_bytes(data, rng)
    header, payload = parts
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        header, payload = rng.choice(_CHANGES)(header, payload, rng)
    return signed(header, payload) if rng.random() < 0.9 else closed(header, payload)


def _metadata(header: Header, payload: bytes, rng: random.Random) -> tuple[Header, bytes]:
    metadata = header.get("__metadata__")
    if not isinstance(metadata, dict) or not metadata:
        return header, payload
    key = "state" if "state" in metadata and rng.random() < 0.4 else rng.choice([*metadata])
    value = str(metadata[key]).encode("utf-8", "surrogatepass")
    if rng.random() < 0.1:
        value = str(rng.choice((*NUMBERS, *WORDS))).encode("utf-8", "surrogatepass")
    elif value[:1] == b"{":
        value = change_json(value, rng)
    else:
        value = change_yaml(value, rng)
    changed = {**metadata, key: value.decode("utf-8", "replace")}
    if rng.random() < 0.05:
        changed.pop(key)
    return {**header, "__metadata__": changed}, payload


def _entry(header: Header, payload: bytes, rng: random.Random) -> tuple[Header, bytes]:
    """A dtype, a shape or a place in the payload that is not the array's."""
    names = [name for name in header if name != "__metadata__"]
    if not names:
        return header, payload
    name = rng.choice(names)
    entry: Header = dict(header[name]) if isinstance(header[name], dict) else {}
    key = rng.choice(("dtype", "shape", "data_offsets"))
    if key == "dtype":
        entry[key] = rng.choice(_DTYPES)
    else:
        entry[key] = _numbers(list(entry.get(key, [0, 0])), rng)
    return {**header, name: entry}, payload


def _numbers(numbers: list[Any], rng: random.Random) -> list[Any]:
    choice = rng.randrange(4)
    if choice == 0 and numbers:
        numbers[rng.randrange(len(numbers))] = rng.choice((0, 1, 2, 3, 2**31, 2**63, 2**64 - 1))
    elif choice == 1:
        numbers.insert(rng.randint(0, len(numbers)), rng.choice((0, 1, 1)))
    elif choice == 2 and numbers:
        numbers.pop(rng.randrange(len(numbers)))
    else:
        numbers.reverse()
    return numbers


def _name(header: Header, payload: bytes, rng: random.Random) -> tuple[Header, bytes]:
    """An array renamed, or gone."""
    names = [name for name in header if name != "__metadata__"]
    if not names:
        return header, payload
    name = rng.choice(names)
    other = rng.choice(
        (rng.choice(names), str(rng.choice(WORDS)), name + ".x", "optimizer/" + name)
    )
    return {other if key == name else key: value for key, value in header.items()}, payload


def _array(header: Header, payload: bytes, rng: random.Random) -> tuple[Header, bytes]:
    """An array of other numbers, another dtype or another shape, its bytes there."""
    names = [n for n, e in header.items() if n != "__metadata__" and isinstance(e, dict)]
    arrays = {}
    try:
        arrays = _arrays(header, payload)
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, MemoryError):
        return header, payload
    if not names:
        return header, payload
    name = rng.choice(names)
    arrays[name] = _other(arrays[name], rng)
    return _packed(header, arrays)


def _other(array: np.ndarray, rng: random.Random) -> np.ndarray:
    choice = rng.randrange(4)
    if choice == 0:
        kind = np.dtype(rng.choice(list(_NUMPY.values())))
        with np.errstate(all="ignore"):
            return array.astype(kind)
    if choice == 1 and array.ndim:
        axis = rng.randrange(array.ndim)
        return np.repeat(array, rng.choice((0, 2, 3)), axis=axis)
    filled = array.copy()
    values = (np.nan, np.inf, 1e30) if filled.dtype.kind == "f" else (-1, 1, 2**30, 127)
    if filled.size:
        with np.errstate(all="ignore"):
            place = rng.randrange(filled.size) if choice == 2 else slice(None)
            filled.reshape(-1)[place] = np.array(rng.choice(values)).astype(filled.dtype)
    return filled


def _packed(header: Header, arrays: dict[str, np.ndarray]) -> tuple[Header, bytes]:
    codes = {np.dtype(kind): code for code, kind in _NUMPY.items()}
    made: Header = {"__metadata__": header["__metadata__"]} if "__metadata__" in header else {}
    payload = b""
    for name, array in arrays.items():
        ends = [len(payload), len(payload) + array.nbytes]
        shape = list(array.shape)
        made[name] = {"dtype": codes[array.dtype], "shape": shape, "data_offsets": ends}
        payload += array.tobytes()
    return made, payload


def _payload(header: Header, payload: bytes, rng: random.Random) -> tuple[Header, bytes]:
    return header, change_bytes(payload, rng)


def _arrays(header: Header, payload: bytes) -> dict[str, np.ndarray]:
    found = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            flat = np.frombuffer(payload[begin:end], _NUMPY[entry["dtype"]])
            found[name] = flat.reshape(entry["shape"])
    return found


Change = Callable[[Header, bytes, random.Random], tuple[Header, bytes]]
_CHANGES: tuple[Change, ...] = (*3 * (_metadata,), *3 * (_array,), _entry, _name, _payload)
