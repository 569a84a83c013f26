"""Every bug by its name as somebody's kernel: `mcore verify --forward planted.shown:NAME`."""

from collections.abc import Callable
from typing import Any

from planted import bugs
from planted.bug import BUGS

assert bugs.__all__


def __getattr__(name: str) -> Callable[..., Any]:
    if name not in BUGS:
        raise AttributeError(f"no planted bug is called {name!r}; {', '.join(BUGS)} would do")
    return BUGS[name].kernel.forward
