"""`--set path=value`."""

from pathlib import Path
from typing import Any

import pytest

from mcore.errors import SpecError
from mcore.spec import load_spec

BASE: dict[str, Any] = {
    "memory": {"recurrence": "delta", "segmentation": "constant", "readout": {"kind": "ssc"}},
    "model": {"depth": 2, "blocks": ["memory", {"mixer": "attention", "window": 8}]},
}


def changed(*overrides: str) -> Any:
    return load_spec(BASE, overrides)


def refused(*overrides: str) -> str:
    with pytest.raises(SpecError) as caught:
        load_spec(BASE, overrides)
    assert all(problem.location == "--set" for problem in caught.value.problems)
    return str(caught.value)


def test_values_are_yaml() -> None:
    spec = changed("train.optimizer.lr=1e-3", "train.clip=0", "model.tied=false", "dtype=float64")
    assert spec.train.optimizer.lr == 1e-3
    assert (spec.train.clip, spec.model.tied, spec.dtype) == (0, False, "float64")
    assert changed("train.optimizer.betas=[0.5, 0.6]").train.optimizer.betas == (0.5, 0.6)
    assert changed("model.key=").model.key is None


def test_the_source_is_left_alone() -> None:
    before = repr(BASE)
    changed("memory.readout.kind=grm", "model.blocks.1.window=3")
    assert repr(BASE) == before


def test_setting_the_kind_drops_what_the_new_kind_does_not_know() -> None:
    assert (
        changed("memory.readout.top_k=4", "memory.readout.kind=none").memory.readout.kind == "none"
    )
    assert changed("memory.segmentation.kind=logarithmic").memory.segmentation.kind == "logarithmic"


def test_setting_the_kind_keeps_what_the_new_kind_knows() -> None:
    spec = changed("data.length=64", "data.pairs=4", "data.task=text", "data.corpus=python-stdlib")
    assert (spec.data.task, spec.data.length) == ("text", 64)


def test_setting_the_same_kind_keeps_everything() -> None:
    assert changed("memory.readout.top_k=4", "memory.readout.kind=ssc").memory.readout.top_k == 4


def test_setting_an_axis_starts_afresh() -> None:
    assert changed("memory.readout.top_k=4", "memory.readout=ssc").memory.readout.top_k == 2
    assert changed("memory.readout={kind: ssc, top_k: 5}").memory.readout.top_k == 5


def test_inside_a_shorthand_or_what_is_left_out() -> None:
    assert changed("memory.segmentation.length=7").memory.segmentation.length == 7
    assert changed("data.pairs=3").data.pairs == 3
    assert changed("train.optimizer.lr=0.5").train.optimizer.lr == 0.5
    assert changed("backend.threads=2").backend.threads == 2


def test_list_entries() -> None:
    assert changed("model.blocks.1.window=3").model.blocks[1].window == 3
    assert changed("model.blocks.0.memory.readout=grm").memories()[0].readout.kind == "grm"
    assert changed("model.blocks.0=parallel").model.blocks[0].mixer == "parallel"


def test_later_settings_win() -> None:
    assert changed("train.steps=5", "train={steps: 6}", "train.steps=7").train.steps == 7


def test_compare_may_be_set() -> None:
    spec = changed("compare.grm={memory.readout: grm}")
    assert spec.compare == {"grm": {"memory.readout": "grm"}}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.steps", "--set: 'train.steps' is no setting; path=value would do"),
        ("=3", "--set: '=3' is no setting"),
        ("train.steps.x=3", "--set: train.steps: needs a whole number, not a mapping"),
        ("train.setps=3", "--set: train.setps: unknown key; did you mean 'steps'?"),
        ("train.steps=ten", "--set: train.steps: needs a whole number, not the text 'ten'"),
        ("train.steps=[", "--set: train.steps: not YAML"),
        ("train.steps=*x", "--set: train.steps: aliases (*x) are not used"),
        ("train={steps: 1, steps: 2}", "--set: train.steps: given twice"),
        ("model.blocks.2=memory", "--set: model.blocks: has 2 entries, counted from 0; 2 is none"),
        (
            "model.blocks.x=memory",
            "--set: model.blocks: has 2 entries, counted from 0; 'x' is none",
        ),
        ("data.paths.0=a.txt", "--set: data.paths: is not listed in this spec; set it as a whole"),
        ("memory.readout.kind=scc", "--set: memory.readout.kind: 'scc' is not a readout"),
        ("model.heads=3", "--set: model.heads: 3 heads do not divide width 128"),
        ("memory.segmentation=none", "--set: memory.readout: ssc reads cached checkpoints"),
        (".=3", "--set: "),
        ("model..width=3", "--set: model."),
        ("model.width.0=3", "--set: model.width"),
        ("dtype.x=3", "--set: dtype"),
    ],
)
def test_wrong_settings(override: str, message: str) -> None:
    assert message in refused(override)


def test_a_conflict_stands_where_a_key_was_set(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("model:\n  width: 128\n", encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        load_spec(path, ["model.heads=3"])
    assert [problem.location for problem in caught.value.problems] == ["--set"]
