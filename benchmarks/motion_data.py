"""Series that the packages aeon and sktime carry: copied out of them to `data/`.

    python -m benchmarks.motion_data                        from a package that is installed here
    python -m benchmarks.motion_data sktime-1.2.0-py3-none-any.whl ...        from wheels

A wheel is all it takes: `pip download --no-deps aeon`. BasicMotions and JapaneseVowels are in both
packages, the gait recording in aeon.
"""

import argparse
import zipfile
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from mcore.errors import DataError

FOLDER = Path(__file__).resolve().parents[1] / "data"
MOTIONS = ("BasicMotions_TRAIN.ts", "BasicMotions_TEST.ts")
VOWELS = ("JapaneseVowels_TRAIN.ts", "JapaneseVowels_TEST.ts")
GAIT = "S06R02E0.csv"
WANTED = (*MOTIONS, *VOWELS, GAIT)
PACKAGES = ("aeon", "sktime")


def fetch(wheels: list[Path], folder: Path = FOLDER) -> list[Path]:
    """Copy what is found, and say where it is now.

    Raises: DataError when neither a wheel nor an installed package has BasicMotions.
    """
    found: dict[str, bytes] = {}
    for wheel in wheels:
        found |= _of_wheel(wheel)
    if not wheels:
        for package in PACKAGES:
            found |= _of_package(package)
    if not set(MOTIONS) <= set(found):
        ways = "pip download --no-deps sktime, and name the wheel"
        raise DataError(f"no BasicMotions in {', '.join(map(str, wheels)) or PACKAGES}; {ways}")
    folder.mkdir(exist_ok=True)
    for name, content in found.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in found]


def present(folder: Path = FOLDER) -> bool:
    """Whether all is there."""
    return all((folder / name).exists() for name in WANTED)


def _of_wheel(path: Path) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(path) as wheel:
            names = {Path(name).name: name for name in wheel.namelist()}
            return {name: wheel.read(names[name]) for name in WANTED if name in names}
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot be read as a wheel: {error}") from None


def _of_package(package: str) -> dict[str, bytes]:
    try:
        there = files(package) or []
    except PackageNotFoundError:
        return {}
    wanted = {path.name: path for path in there if path.name in WANTED}
    return {name: Path(path.locate()).read_bytes() for name, path in wanted.items()}


def main() -> None:
    """Copy, and list what was copied."""
    parser = argparse.ArgumentParser(description="Series out of aeon and sktime.")
    parser.add_argument("wheels", nargs="*", type=Path, help="wheels, if not what is installed")
    try:
        for path in fetch(parser.parse_args().wheels):
            print(path)
    except DataError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
