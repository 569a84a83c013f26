"""Loading: sources, YAML as people mean it, places of problems, hostile files."""

import time
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mcore.errors import SpecError
from mcore.spec import load_spec, read_spec
from mcore.spec.scalars import meaning
from mcore.spec.schema import backend


def problems(source: Any, *overrides: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load_spec(source, overrides)
    return str(caught.value).splitlines()


def written(folder: Path, text: str) -> Path:
    path = folder / "a.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("3e-3", 3e-3),
        ("3E3", 3000.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("1_000", 1000),
        ("010", 10),
        ("0x10", 16),
        ("-7", -7),
        ("on", "on"),
        ("No", "No"),
        ("1:30", "1:30"),
        ("2026-01-02", "2026-01-02"),
        ("1e", "1e"),
        ("_1", "_1"),
        ("True", True),
        ("~", None),
        ("", None),
        ("null", None),
    ],
)
def test_words_mean_what_people_read(word: str, value: object) -> None:
    assert meaning(word) == value
    assert type(meaning(word)) is type(value)


def test_numbers_without_a_dot_are_numbers(tmp_path: Path) -> None:
    path = written(tmp_path, "train: {optimizer: {lr: 3e-3, eps: 1e-8}}\n")
    assert load_spec(path).train.optimizer.lr == 3e-3
    assert load_spec(str(path)).train.optimizer.eps == 1e-8


def test_byte_order_mark_and_windows_lines(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes("\ufeffdata:\r\n  task: mqar\r\n  pairs: 3\r\n".encode())
    assert (
        load_spec(tmp_path / "a.yaml").data
        == load_spec({"data": {"task": "mqar", "pairs": 3}}).data
    )


def test_mapping_may_hold_what_python_has(tmp_path: Path) -> None:
    data = {
        "task": "text",
        "paths": (tmp_path,),
        "length": np.int64(8),
        "validation": np.float32(0.5),
    }
    spec = load_spec({"data": data, "train": {"optimizer": {"betas": (0.5, np.float64(0.25))}}})
    assert spec.data.length == 8
    assert spec.train.optimizer.betas == (0.5, 0.25)


def test_a_spec_is_a_source_too() -> None:
    spec = load_spec({"train": {"steps": 5}})
    assert load_spec(spec) == spec
    assert load_spec(spec, ["train.steps=6"]).train.steps == 6


def test_a_mapping_has_no_lines() -> None:
    assert problems({"dtype": 16})[0].startswith("dtype: 16 is not known here")


@pytest.mark.parametrize("source", [None, 3, ["model"]])
def test_neither_file_nor_mapping(source: Any) -> None:
    assert "a file's path or a mapping" in problems(source)[0]


def test_a_mapping_inside_itself() -> None:
    knot: dict[str, Any] = {}
    knot["model"] = knot
    assert problems(knot) == ["nested more than 16 deep; a spec needs far less"]


def test_missing_file_names_its_neighbour(tmp_path: Path) -> None:
    written(tmp_path, "data: mqar\n")
    assert problems(tmp_path / "b.yaml")[0].endswith(f"did you mean '{tmp_path / 'a.yaml'}'?")
    assert problems("no/such/file.yaml") == [
        "no/such/file.yaml: cannot be read: no such file or directory"
    ]


def test_folder_and_nonsense_paths(tmp_path: Path) -> None:
    assert problems(tmp_path) == [f"{tmp_path}: is a folder; give a YAML file in it"]
    assert "cannot be read" in problems("a\0b")[0]
    assert "cannot be read" in problems("x" * 5000)[0]


def test_problems_come_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "dtype: 1\ntrain: {steps: 0}\nmodel:\n  heads: 3\ndata: none\n")
    found = problems(path, "train.batch=0", "compare.x.y=3")
    places = [line.removeprefix(f"{path}:").split(":")[0] for line in found]
    assert places == ["1", "2", "4", "5", "--set", "--set"]


def test_many_problems_are_counted_not_listed() -> None:
    found = problems({"model": {f"k{n}": n for n in range(130)}})
    assert len(found) == 101
    assert found[-1] == "30 more problems are not shown"


def test_a_conflict_is_reported_though_another_key_is_wrong() -> None:
    found = problems({"model": {"heads": 3, "conv": -1}, "train": {"steps": "x", "warmup": 0.5}})
    assert [line.split(":")[0] for line in found] == ["model.conv", "train.steps", "model.heads"]


def test_no_conflict_is_invented_from_defaults() -> None:
    found = problems({"memory": {"segmentation": "constnat", "readout": "grm"}})
    assert len(found) == 1
    found = problems({"model": {"width": "100", "heads": 5}})
    assert len(found) == 1


def test_read_spec_does_not_look_around() -> None:
    elsewhere = {"data": {"task": "text", "paths": ["gone.txt"]}, "backend": "elsewhere"}
    assert read_spec(elsewhere).backend.kind == "elsewhere"
    assert len(problems(elsewhere)) == 2


def test_backends_of_others_are_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("metal", "nowhere:Backend", "mcore.backends")
    monkeypatch.setattr(backend, "entry_points", lambda group: [entry])
    assert load_spec({"backend": "metal"}).backend.kind == "metal"
    (found,) = problems({"backend": "metl"})
    assert "did you mean 'metal'? (cupy, metal, numba, reference)" in found


def test_files_patterns_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, "data: mqar\n")
    for good in ("a.yaml", "*.yaml", ".", "**/*.yaml", str(tmp_path)):
        load_spec({"data": {"task": "text", "paths": [good]}})
    for bad in ("b.yaml", "*.txt", "a.yaml/b", "", "a\0", "~nobody-here/x"):
        assert problems({"data": {"task": "text", "paths": [bad]}})[0].startswith("data.paths.0:")


HOSTILE = {
    "deep flow": "a: " + "[" * 60000,
    "deep mappings": "".join(f"{' ' * n}a:\n" for n in range(300)),
    "many keys": "".join(f"k{n}: {n}\n" for n in range(7000)),
    "many wrong values": "model: {blocks: [" + "x, " * 20000 + "]}",
    "many variants": "compare:\n" + "".join(f"  v{n}: {{model.widht: 3}}\n" for n in range(2500)),
    "long word": "data: " + "x" * 60000,
    "long key": "x" * 60000 + ": 1",
    "long number": "train: {steps: " + "1" * 60000 + "}",
    "long comment": "# " + "x" * 60000,
    "quotes": "'" * 60000,
    "colons": ": " * 30000,
    "questions": "? " * 30000,
    "dashes": "- " * 30000,
    "bangs": "! " * 30000,
    "far escape": 'data: "\\UFFFFFFFF"',
    "huge version": f"%YAML 1.{'9' * 6000}\n---\ndata: mqar",
    "merge": "model: {<<: {width: 3}}",
    "control": "data: mq\x07ar",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_fast(name: str, tmp_path: Path) -> None:
    path = written(tmp_path, HOSTILE[name])
    begun = time.process_time()
    found = ["fine"] if name == "long comment" else problems(path)
    assert time.process_time() - begun < 1
    assert all(len(line) < 600 for line in found)
