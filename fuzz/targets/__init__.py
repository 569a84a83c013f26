"""The targets, one file for each kind of input."""

from fuzz.target import Target
from fuzz.targets.live import Lines, Note
from fuzz.targets.overrides import Overrides
from fuzz.targets.run_folder import RUN_FILES, RunFile
from fuzz.targets.series import SUFFIXES, SeriesFile
from fuzz.targets.session import SessionState
from fuzz.targets.snapshot import ModelSnapshot
from fuzz.targets.spec import SpecFile
from fuzz.targets.text import TextFiles
from fuzz.targets.weights import OnnxWeights, RnnWeights, Sound

_ALL: tuple[Target, ...] = (
    SpecFile(),
    Overrides(),
    ModelSnapshot(),
    SessionState("session", "reference"),
    SessionState("kernels", "numba"),
    *(RunFile(name) for name in RUN_FILES),
    RunFile("last.safetensors", truncate=3),
    TextFiles(),
    *(SeriesFile(suffix) for suffix in SUFFIXES),
    RnnWeights(),
    OnnxWeights(),
    Sound(),
    Lines(),
    Note(),
)

TARGETS = {target.name: target for target in _ALL}
"""Name -> target."""
