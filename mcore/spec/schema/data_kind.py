"""What all tasks of the data section share."""

import glob
from itertools import takewhile
from pathlib import Path
from typing import ClassVar

from pydantic import ValidationInfo
from pydantic_core import PydanticCustomError

from mcore.spec.schema.base import Section


class DataKind(Section):
    """Base of the tasks."""

    discriminator: ClassVar[str] = "task"
    noun: ClassVar[str] = "task"


def must_exist(text: str, info: ValidationInfo) -> str:
    """Refuse a path that names nothing, where the spec is checked on the machine it runs on."""
    if not (info.context and info.context["environment"]) or _found(text):
        return text
    if glob.has_magic(text):
        message = f"no file matches {text!r} here; give a pattern that does"
    else:
        message = f"no file or folder {text!r} here; give a path from the current directory"
    raise PydanticCustomError("environment", "{message}", {"message": message})


def _found(text: str) -> bool:
    """Whether a path is there, or a pattern matches anything; links to folders are not followed."""
    try:
        path = Path(text).expanduser()
        if not glob.has_magic(text):
            return bool(text) and path.exists()
        root = Path(*takewhile(lambda part: not glob.has_magic(part), path.parts))
        return next(root.glob(str(path.relative_to(root))), None) is not None
    except (OSError, RuntimeError, ValueError):
        return False
