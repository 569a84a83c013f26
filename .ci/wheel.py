"""Build the wheel, install it into a fresh environment away from the checkout, and use it."""

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

SOURCES = (".py", ".cu", ".cuh", ".h")
"""Files that must be in the wheel: Python, and what is compiled for a GPU or in its place."""

USE = """
import mcore, numpy as np, pathlib, importlib.resources
assert "site-packages" in mcore.__file__, mcore.__file__
layer = mcore.memory("delta", {"kind": "constant", "length": 2}, "grm", backend="numba")
rng = np.random.default_rng(0)
key, value = (1, 5, 2, 3), (1, 5, 2, 4)
shapes = {"q": key, "k": key, "v": value, "u": key, "beta": (1, 5, 2)}
y, saved = layer.forward({name: rng.random(shape) for name, shape in shapes.items()})
assert y.shape == (1, 5, 2, 4)
assert set(layer.backward(saved, y)) == set(shapes)
presets = {p.name for p in importlib.resources.files("mcore.specs").iterdir()}
assert "quickstart.yaml" in presets, presets
for name in ("backends", "cli", "specs"):
    try:
        __import__(name)
    except ImportError:
        continue
    raise AssertionError(f"{name} leaked to the top level")
print("wheel: installed, imported, ran forward and backward")
"""


def main(work: Path) -> None:
    """Fail with CalledProcessError or AssertionError if the wheel is not what it should be."""
    wheels = work / "dist"
    _run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", wheels, ROOT)
    (wheel,) = wheels.glob("mcore-*.whl")
    _check_content(wheel)
    venv.create(work / "venv", with_pip=True)
    python = work / "venv" / "bin" / "python"
    _run(python, "-m", "pip", "install", "--quiet", wheel)
    _run(python, "-W", "error", "-c", USE)
    _run(work / "venv" / "bin" / "mcore", "spec", "schema", stdout=subprocess.DEVNULL)


def _check_content(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"mcore"}, top
    packed = {name for name in names if name.startswith("mcore/")}
    folders = {"mcore": "mcore", "backends": "mcore/backends", "cli": "mcore/cli"}
    for folder, package in folders.items():
        for path in (ROOT / folder).rglob("*"):
            if path.suffix not in SOURCES:
                continue
            relative = path.relative_to(ROOT / folder)
            if not any((ROOT / folder).joinpath(*relative.parts[:n]).is_symlink() for n in (1, 2)):
                assert f"{package}/{relative.as_posix()}" in packed, f"{path} is not in the wheel"


def _run(*command: object, stdout: int | None = None) -> None:
    subprocess.run([str(part) for part in command], check=True, cwd="/", stdout=stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
