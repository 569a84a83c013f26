"""Functions by their address: `package.module:name`, or `path/to/file.py:name`."""

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from mcore.errors import InputError


def load_function(address: str) -> Callable[..., Any]:
    """The function at an address; modules are looked for in the current folder too.

    Raises:
        InputError: the address has no colon, there is no such module, file or function, or
            importing it fails.
    """
    place, colon, name = address.rpartition(":")
    if not colon or not name:
        raise InputError(f"{address}: is no address of a function; module:name or file.py:name is")
    module = _module(place)
    function: Any = module
    for part in name.split("."):
        function = getattr(function, part, None)
    if not callable(function):
        names = [n for n, x in vars(module).items() if callable(x) and not n.startswith("_")]
        raise InputError(f"{address}: there is no function {name}; there is {', '.join(names)}")
    found: Callable[..., Any] = function
    return found


def _module(place: str) -> ModuleType:
    """Imported once, like any module; a file under its own name."""
    try:
        if place.endswith(".py"):
            return _from_file(Path(place))
        if "" not in sys.path:
            sys.path.insert(0, "")
        return import_module(place)
    except InputError:
        raise
    except ModuleNotFoundError as error:
        raise InputError(f"{place}: {error}; run in the folder where it is") from None
    except (Exception, SystemExit) as error:
        raise InputError(f"{place}: importing it raised {type(error).__name__}: {error}") from error


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    found = sys.modules.get(path.stem)
    if found is not None and getattr(found, "__file__", None) == str(path.resolve()):
        return found
    spec = spec_from_file_location(path.stem, path.resolve())
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)
    sys.path.insert(0, str(path.resolve().parent))
    spec.loader.exec_module(module)
    return module
