"""A counterexample as a program of its own."""

import os
import textwrap
from pathlib import Path

from mcore.arrays import Array
from mcore.snapshot import write_whole
from mcore.testing.theorems.outcome import Outcome

NAMES = ("Exchange", "Kernel", "Memories", "load_function")


def write_script(outcome: Outcome, made: str, folder: Path) -> Path:
    """Write `verify-<theorem>.py`, which exits with 1 as long as the theorem is broken.

    Args:
        outcome: of a broken theorem.
        made: Python that makes the subject, with `folder` as the current folder.
        folder: where to write it; it is made if need be.

    Returns: the file's path.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"verify-{outcome.theorem.name}.py"
    write_whole(path, _text(outcome, made, path).encode())
    return path


def _text(outcome: Outcome, made: str, path: Path) -> str:
    case, theorem = outcome.case, outcome.theorem
    assert case is not None
    names = ", ".join(name for name in NAMES if f"{name}(" in made)
    here = os.path.relpath(Path.cwd(), path.parent)
    inputs = "\n".join(f'    "{name}": {_literal(x)},' for name, x in case.inputs.items())
    what = str(outcome.violation).replace("\\", "\\\\").replace('"', "'")
    return f'''"""{theorem.name}: {theorem.sentence}.

Broken here: {what}

Exits with 1 as long as that is so, with 0 once it is mended: python {path.name}
"""

import os
import sys
from pathlib import Path

from numpy import array

os.chdir(Path(__file__).parent / "{here}")
sys.path.insert(0, "")

from mcore.testing import {names}, replay

subject = {made}
inputs = {{
{inputs}
}}
sys.exit(replay("{theorem.name}", subject, inputs, lengths={list(case.lengths)}, seed={case.seed}))
'''


def _literal(x: Array) -> str:
    """All digits, on lines that are not too long."""
    lines = textwrap.fill(str(x.tolist()), 92, break_long_words=False).replace("\n", "\n        ")
    return f"array({lines})"
