"""Hostile neighbours: of bytes, of plain data, of text made of lines."""

import json
import random
from typing import Any

NUMBERS: tuple[Any, ...] = (
    0,
    -1,
    1,
    2**31 - 1,
    2**31,
    2**63 - 1,
    2**63,
    10**18,
    -(10**18),
    10**400,
    0.0,
    -0.0,
    1e-320,
    1e308,
    float("nan"),
    float("inf"),
    float("-inf"),
)
WORDS: tuple[Any, ...] = (
    "",
    " ",
    ".",
    "..",
    "../../../../etc/passwd",
    "/etc/passwd",
    "/dev/zero",
    "~root",
    "~nobody-here/x",
    "a\0b",
    "\x1b[31mred",
    "\u202eright to left",
    "\ufeffmark",
    "\ud800",
    "ß" * 300,
    "x" * 5000,
    "1" * 5000,
    "**",
    "**x",
    "[",
    "%s%n{0}",
    "__class__",
    "!!python/object/apply:os.system [id]",
    "null",
    "true",
)
NESTED: tuple[Any, ...] = (None, True, False, [], {}, [[]], {"": {}}, [0] * 300)

VALUES = (*NUMBERS, *WORDS, *NESTED)


def change_bytes(data: bytes, rng: random.Random) -> bytes:
    """Flip, cut, repeat, insert or overwrite a stretch."""
    made = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        here = rng.randrange(len(made) + 1)
        there = min(len(made), here + rng.choice((1, 1, 2, 4, 8, 64, 512)))
        choice = rng.randrange(5)
        if choice == 0 and here < len(made):
            made[here] ^= 1 << rng.randrange(8)
        elif choice == 1:
            del made[here:there]
        elif choice == 2:
            made[here:here] = made[here:there] * rng.choice((1, 2, 50))
        elif choice == 3:
            made[here:here] = rng.randbytes(rng.choice((1, 2, 8)))
        else:
            made[here:there] = rng.choice((b"\0", b"\xff", b"\r\n", b"\xef\xbb\xbf", b"\xe9"))
    return bytes(made)


def change_tree(data: Any, rng: random.Random) -> Any:
    """Plain data with one value, key or entry changed, dropped, moved or doubled."""
    if not isinstance(data, dict | list) or not data or rng.random() < 0.1:
        return deep(rng) if rng.random() < 0.03 else rng.choice(VALUES)
    keys = list(data) if isinstance(data, dict) else list(range(len(data)))
    key, choice = rng.choice(keys), rng.random()
    made: Any = dict(data) if isinstance(data, dict) else list(data)
    if choice < 0.75:
        made[key] = change_tree(made[key], rng)
    elif choice < 0.85:
        made.pop(key)
    elif isinstance(made, dict):
        made[str(rng.choice(WORDS)) if rng.random() < 0.5 else key] = made[rng.choice(keys)]
    else:
        made += made[: rng.randint(1, 3)]
    return made


def deep(rng: random.Random) -> Any:
    """Lists in lists in lists."""
    data: Any = 1
    for _ in range(rng.choice((20, 200, 900))):
        data = [data] if rng.random() < 0.5 else {"a": data}
    return data


def change_json(data: bytes, rng: random.Random) -> bytes:
    """JSON with a value changed; bytes where it is none."""
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return change_bytes(data, rng)
    try:
        text = json.dumps(change_tree(tree, rng))
    except (ValueError, RecursionError):
        return change_bytes(data, rng)
    return text.encode("utf-8", "surrogatepass")


def change_lines(data: bytes, rng: random.Random) -> bytes:
    """Lines swapped, doubled, dropped, indented, or ending in `\\r\\n`."""
    lines = data.split(b"\n")
    here, there = rng.randrange(len(lines)), rng.randrange(len(lines))
    choice = rng.randrange(5)
    if choice == 0:
        lines[here], lines[there] = lines[there], lines[here]
    elif choice == 1:
        lines.insert(there, lines[here])
    elif choice == 2:
        del lines[here]
    elif choice == 3:
        lines[here] = b" " * rng.randint(1, 5) + lines[here]
    else:
        return data.replace(b"\n", b"\r\n")
    return b"\n".join(lines)
