"""The `mcore` command: `main` runs one command line and returns its exit code."""

import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper

from mcore.errors import McoreError, SpecError

INTERRUPTED = 130
"""What shells return for a command that Ctrl-C ended: 128 + SIGINT."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `mcore` with these arguments (those of the process by default).

    Results go to stdout; progress and errors go to stderr, an expected error without a traceback.

    Returns: 0 done, 1 failed, 2 usage or spec is wrong, 130 interrupted.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = _run(argv)
        if sys.stdout is not None:
            sys.stdout.flush()
    except McoreError as error:
        return _fail(error, error.exit_code)
    except BrokenPipeError:
        return _hang_up()
    except OSError as error:
        return _fail(error, 1)
    except MemoryError as error:
        return _fail(f"out of memory: {error or 'the machine has no more'}", 1)
    except KeyboardInterrupt:
        return INTERRUPTED
    return code


def _run(argv: Sequence[str] | None) -> int:
    from mcore.cli.app import app

    try:
        app(args=None if argv is None else [*argv], prog_name="mcore")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _fail(error: McoreError | OSError | str, code: int) -> int:
    """One plain line for each problem, so that editors and scripts can read them."""
    print(error if isinstance(error, SpecError) else f"mcore: {error}", file=sys.stderr)
    return code


def _hang_up() -> int:
    """Nobody reads on (`mcore ... | head`): let the flush at exit go nowhere, quietly."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1
