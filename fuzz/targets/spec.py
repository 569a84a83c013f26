"""A spec file: read, checked, planned, and written back."""

import random
from pathlib import Path

import yaml

import mcore
from fuzz.targets.small import SPEC
from fuzz.yaml_text import change_yaml

_CHECKOUT = Path(__file__).parents[2]


class SpecFile:
    """`mcore spec check`, `show` and `plan`."""

    name = "spec"

    def seeds(self) -> list[bytes]:
        """Every preset, and the wrong specs of the tests; what planning loads is loaded now."""
        mcore.plan({})
        folders = [_CHECKOUT / "specs", _CHECKOUT / "tests/specs", _CHECKOUT / "tests/bad_specs"]
        files = [file for folder in folders for file in sorted(folder.glob("*.yaml"))]
        found = [file.read_bytes() for file in files if file.stat().st_size < 8192]
        return [*found, yaml.safe_dump(SPEC).encode()]

    def mutate(self, data: bytes, rng: random.Random) -> bytes:
        """YAML."""
        return change_yaml(data, rng)

    def run(self, data: bytes, folder: Path) -> None:
        """Load; what loads has a plan and variants, and loads alike from what it is dumped to."""
        from mcore.spec import dump_spec, read_spec
        from mcore.spec.compare import variants
        from mcore.spec.load import parse_spec

        path = folder / "a.yaml"
        path.write_bytes(data)
        spec = read_spec(path)
        if parse_spec(dump_spec(spec), "dumped") != spec:
            raise AssertionError("a dumped spec is another one")
        variants(spec)
        str(mcore.plan(spec))
        mcore.load_spec(path)
