"""`mcore bench`, and the benchmarks beside it, at tiny size: that all runs and adds up."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import mcore
from benchmarks import accuracy, agree, cores, layer, memory
from benchmarks.peers import make
from benchmarks.problem import Problem
from benchmarks.results import load, path_of, store
from mcore.bench import compositions
from mcore.bench.clock import Effort, interleave
from mcore.bench.peak import extra_bytes
from mcore.cli import main

SPECS = Path(__file__).resolve().parents[1] / "specs"
SMALL = ["model.width=16", "model.depth=1", "train.batch=2", "backend=reference"]
Capture = pytest.CaptureFixture[str]


def bench(*arguments: str) -> list[str]:
    changes = [word for change in SMALL for word in ("--set", change)]
    return ["bench", str(SPECS / "hybrid.yaml"), *arguments, "--seconds", "0", *changes]


def test_json_has_a_memory_layer_and_a_step(capsys: Capture) -> None:
    change = ["--set", "model.blocks=[parallel]"]
    assert main(bench("--json", *change)) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["rows"], found["tokens"], found["threads"]) == (2, 32, 1)
    (only,) = found["layers"]
    assert only["what"] == "gated_delta x constant x grm"
    assert min(only["forward"], only["backward"], only["flops"], only["sgemm"]) > 0
    assert found["step"]["flops"] > only["flops"]
    assert found["step"]["token"] > 0


def test_a_table_for_people(capsys: Capture) -> None:
    assert main(bench("--set", "model.blocks=[memory]", "--threads", "2")) == 0
    out = capsys.readouterr().out
    assert "gated_delta x constant x grm" in out
    assert "training step" in out
    assert "% of" in out


def test_the_default_compositions_are_specs() -> None:
    for axes in compositions.COMPOSITIONS.values():
        assert mcore.load_spec(compositions.spec_of(*axes)).data.length == 1024


def test_the_best_round_counts() -> None:
    rounds = iter([3.0, 0.0, 5.0])
    calls = {"slow": lambda: np.linalg.inv(np.eye(60)), "fast": lambda: next(rounds)}
    timing = interleave(calls, Effort(2, 3, 0.0))
    assert timing.seconds["fast"] < timing.seconds["slow"] < 1
    assert timing.sgemm > 1e8


def test_extra_memory_is_what_a_call_takes() -> None:
    extra = extra_bytes(lambda: np.ones(4 << 20).sum())
    assert extra is None or 30e6 < extra < 60e6


def test_plain_numpy_agrees_with_the_reference() -> None:
    problem = Problem(rows=2, heads=3, width=5, segment=4, tokens=12)
    inputs, dy = problem.inputs(), problem.answers()
    contender = make("numpy", problem, inputs, dy)
    found = contender.plain(contender.both())
    agree.check("numpy", found, agree.exact(problem, inputs, dy))
    found["u"][0, 0, 0, 0] += 1
    with pytest.raises(AssertionError, match="numpy: u is off"):
        agree.check("numpy", found, agree.exact(problem, inputs, dy))


@pytest.mark.parametrize(
    ("module", "arguments", "wanted"),
    [
        (layer, ["--peers", "mcore", "numpy", "--seconds", "0"], "| 8 / 8 / 4 | numpy |"),
        (memory, ["--peers", "mcore", "numpy"], "| 8 / 8 / 32 | 0 | numpy |"),
        (cores, ["--rounds", "1"], "| linear grm d=8 L=8 N=4 |"),
        (accuracy, ["--rules", "linear"], "| linear + grm |"),
    ],
)
def test_benchmarks_write_their_tables(
    module: ModuleType, arguments: list[str], wanted: str, tmp_path: Path
) -> None:
    module.main(["--quick", "--out", str(tmp_path), *arguments])
    path = path_of(module.__name__.rpartition(".")[2], tmp_path)
    assert len(load(path)) == 1
    assert wanted in path.with_suffix(".md").read_text()


def test_rows_are_kept_until_the_machine_changes(tmp_path: Path) -> None:
    path = tmp_path / "some.json"
    rows: list[dict[str, Any]] = [store(path, name, {"x": 1}) for name in ("a", "b", "a")]
    assert [list(row) for row in rows] == [["a"], ["a", "b"], ["a", "b"]]
    other = json.loads(path.read_text()) | {"machine": "another"}
    path.write_text(json.dumps(other))
    assert load(path) == {}
