"""CUDA sources as one text each: our own headers are written into them.

So what is compiled depends on nothing but the text and the options, and a cache keyed by both never
gives a stale kernel. No header of a CUDA toolkit is needed.
"""

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent / "cuda"

REALS = {"float32": "float", "float64": "double", "bfloat16": "Bfloat16"}
"""What CUDA calls a dtype."""

PRODUCTS = {"float32": 3, "tf32": 1}
"""From how many products of TF32 inputs one of float32 is made; see `mma.cuh`."""

NVRTC = ("-std=c++17", "-default-device")
"""Options for every source. Some versions of NVRTC take generic lambdas for functions of the host
unless they are told that whatever says nothing is for the device."""

_INCLUDE = re.compile(r'\s*#include "([\w.]+)"\s*$')
_KERNEL = re.compile(r"__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s*)?(\w+)\s*\(")


class Variant(NamedTuple):
    """A source with everything that is fixed when it is compiled.

    Attributes:
        family: the source's name, `cuda/<family>.cu`.
        real: dtype of states and sums.
        token: dtype of arrays over tokens.
        sizes: names and values of further constants, such as `(("MC_KEYS", 64),)`.
    """

    family: str
    real: str
    token: str
    sizes: tuple[tuple[str, int], ...] = ()

    def multiplied(self, products: str) -> "Variant":
        """The same with float32 products formed in this way (`PRODUCTS`), unless it says how."""
        if any(name == "MC_PRODUCTS" for name, _ in self.sizes):
            return self
        return self._replace(sizes=(*self.sizes, ("MC_PRODUCTS", PRODUCTS[products])))

    @property
    def options(self) -> tuple[str, ...]:
        """Definitions for the compiler."""
        types = (f"-DMC_REAL={REALS[self.real]}", f"-DMC_TOKEN={REALS[self.token]}")
        return (*types, *(f"-D{name}={value}" for name, value in self.sizes))


def families() -> list[str]:
    """Names of all sources."""
    return sorted(path.stem for path in FOLDER.glob("*.cu"))


@cache
def source(family: str) -> str:
    """The text of a family's source, our headers in place of their `#include`.

    Kernels must be declared `extern "C"`: a module is asked for them by the names they are written
    with, and C++ would give them others.
    """
    return _expanded(f"{family}.cu", set())


@cache
def kernels(family: str) -> tuple[str, ...]:
    """Names of the kernels of a family."""
    return tuple(_KERNEL.findall(source(family)))


def _expanded(name: str, seen: set[str]) -> str:
    """A file with its includes written out, each once; messages still name file and line."""
    lines = [f'#line 1 "{name}"']
    for number, line in enumerate((FOLDER / name).read_text().splitlines(), 1):
        found = _INCLUDE.match(line)
        if found is None:
            lines.append("" if line == "#pragma once" else line)
        elif found.group(1) not in seen:
            seen.add(found.group(1))
            lines += [_expanded(found.group(1), seen), f'#line {number + 1} "{name}"']
        else:
            lines.append("")
    return "\n".join(lines)
