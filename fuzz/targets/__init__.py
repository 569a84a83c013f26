"""The targets, one file for each kind of input."""

from fuzz.target import Target
from fuzz.targets.overrides import Overrides
from fuzz.targets.run_folder import RUN_FILES, RunFile
from fuzz.targets.session import SessionState
from fuzz.targets.snapshot import ModelSnapshot
from fuzz.targets.spec import SpecFile
from fuzz.targets.text import TextFiles

_ALL: tuple[Target, ...] = (
    SpecFile(),
    Overrides(),
    ModelSnapshot(),
    SessionState("session", "reference"),
    SessionState("kernels", "numba"),
    *(RunFile(name) for name in RUN_FILES),
    RunFile("last.safetensors", truncate=3),
    TextFiles(),
)

TARGETS = {target.name: target for target in _ALL}
"""Name -> target."""
