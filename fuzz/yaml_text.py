"""Hostile specs: YAML with a value, a key or a line changed."""

import json
import random

import yaml

from fuzz.mutate import VALUES, change_bytes, change_lines, change_tree

_PIECES = (
    b"&a [1]",
    b"*a",
    b"!!python/object/apply:os.system [id]",
    b"<<: {a: 1}",
    b"? [a]",
    b"--- ",
    b"...",
    b"|\n  x",
    b">-",
    b"'",
    b'"\\x00"',
    b"{" * 40,
    b"\t",
    b"# ",
    b"%YAML 1.1",
    b"0x7f",
    b"1e999",
    b".nan",
    b"-.inf",
)


def change_yaml(data: bytes, rng: random.Random) -> bytes:
    """A hostile neighbour of a YAML text."""
    choice = rng.random()
    if choice < 0.4:
        return _tree(data, rng)
    if choice < 0.55:
        return _value(data, rng)
    if choice < 0.7:
        here = rng.randrange(len(data) + 1)
        return data[:here] + rng.choice(_PIECES) + data[here:]
    return change_lines(data, rng) if choice < 0.85 else change_bytes(data, rng)


def _tree(data: bytes, rng: random.Random) -> bytes:
    try:
        tree = change_tree(yaml.safe_load(data), rng)
        text: str = yaml.safe_dump(tree, allow_unicode=rng.random() < 0.5, width=100)
        return text.encode("utf-8", "surrogatepass")
    except (yaml.YAMLError, ValueError, RecursionError, TypeError):
        return change_bytes(data, rng)


def _value(data: bytes, rng: random.Random) -> bytes:
    """What follows a colon or a comma becomes something else."""
    places = [n for n, byte in enumerate(data) if byte in b":,[{"]
    if not places:
        return change_bytes(data, rng)
    here = rng.choice(places) + 1
    there = next((n for n in range(here, len(data)) if data[n] in b",}]\n"), len(data))
    value = json.dumps(rng.choice(VALUES), ensure_ascii=False)
    return data[:here] + b" " + value.encode("utf-8", "surrogatepass") + data[there:]
