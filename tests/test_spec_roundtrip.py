"""Properties: what is dumped loads equal; no text does worse than a SpecError."""

import string
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from spec_strategies import Plain, names, specs

from mcore.errors import SpecError
from mcore.spec import Spec, dump_spec, load_spec, read_spec

FOLDER = Path(__file__).parent / "specs"
GOOD = sorted(FOLDER.glob("*.yaml"))


def loaded(data: bytes, environment: bool = False) -> Spec:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.yaml"
        path.write_bytes(data)
        return load_spec(path) if environment else read_spec(path)


@given(specs)
def test_dumped_specs_load_equal(source: Plain) -> None:
    spec = read_spec(source)
    text = dump_spec(spec)
    assert loaded(text.encode()) == spec
    assert dump_spec(loaded(text.encode())) == text


@given(names)
@example("3e-3")
@example("on")
@example("1_000")
@example("~")
@example("")
@example("a: b # c")
@example("\x85\u2028\ufeff")
def test_any_text_survives(name: str) -> None:
    spec = read_spec({"data": {"task": "text", "paths": [name]}})
    assert loaded(dump_spec(spec).encode()) == spec


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_good_specs_survive(path: Path) -> None:
    assert loaded(dump_spec(load_spec(path)).encode()) == load_spec(path)


def refused_or_fine(data: bytes) -> None:
    begun = time.perf_counter()
    try:
        loaded(data, environment=True)
    except SpecError as error:
        assert error.problems
        assert all("\n" not in str(problem) for problem in error.problems)
        assert "Input should" not in str(error)
    assert time.perf_counter() - begun < 1


edits = st.lists(
    st.tuples(
        st.sampled_from(["drop", "double", "insert"]),
        st.integers(0, 2000),
        st.integers(1, 12),
        st.sampled_from(string.printable + "\0\x85\ufeffé"),
    ),
    min_size=1,
    max_size=6,
)


@given(st.sampled_from(GOOD), edits)
def test_any_damage_is_a_spec_error_at_worst(
    path: Path, changes: list[tuple[str, int, int, str]]
) -> None:
    text = path.read_text(encoding="utf-8")
    for kind, place, size, letter in changes:
        at = place % (len(text) + 1)
        middle = {"drop": "", "double": text[at : at + size] * 2, "insert": letter * size}[kind]
        text = text[:at] + middle + text[at if kind == "insert" else at + size :]
    refused_or_fine(text.encode())


@given(st.binary(max_size=200))
def test_any_bytes_are_a_spec_error_at_worst(data: bytes) -> None:
    refused_or_fine(data)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | names
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3)
)
keys = ["kind", "task", "model", "memory", "readout", "blocks", "lengths", "0", "compare", "x"]


@given(st.sampled_from(GOOD), st.lists(st.sampled_from(keys), min_size=1, max_size=5), values)
def test_any_value_anywhere_is_a_spec_error_at_worst(
    path: Path, where: list[str], value: object
) -> None:
    nested = {".".join(where): value, where[0]: {where[-1]: value}}
    for source in (nested, {where[0]: value}, {"compare": {"x": nested}}):
        try:
            load_spec(source)
        except SpecError as error:
            assert error.problems
    try:
        load_spec(path, [f"{'.'.join(where)}={value}"])
    except SpecError as error:
        assert error.problems
