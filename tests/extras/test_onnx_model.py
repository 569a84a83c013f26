"""Models as ONNX graphs: the presets, what graphs say of themselves, and `mcore export`."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="pip install 'mcore[onnx]'")
pytest.importorskip("onnxruntime", reason="pip install onnxruntime")

import onnx
from onnx_running import runtime

import mcore
from mcore.cli import main
from mcore.errors import McoreError, SpecError
from mcore.export import onnx_model
from mcore.export.builder import Builder
from mcore.export.check import check_graphs, streamed
from mcore.export.declared import Declared
from mcore.export.files import content
from mcore.export.graphs import step_model
from mcore.export.parts.vectors import rotary
from mcore.export.program import Program
from mcore.layers import rope
from mcore.model import Model
from mcore.spec.load import parse_spec
from mcore.testing.agreement import relative_error

FOLDER = Path(__file__).resolve().parents[2] / "specs"
SPECS = [p for p in sorted(FOLDER.glob("*.yaml")) if "task: series" not in p.read_text()]
SMALL = ["model.width=16", "model.heads=2", "model.key=4", "data.length=32", "compare={}"]
LIMIT = 1e-5
"""Two blocks in float32, of the graph and of the model, whose sums come in other orders."""

Capture = pytest.CaptureFixture[str]


def small(path: Path, more: tuple[str, ...] = ()) -> Model:
    """A preset, shrunk, with parameters that are all away from their starting values."""
    text = path.read_text()
    sets = [*SMALL, "backend=reference", *([] if "blocks" in text else ["model.depth=1"])]
    pairs = [] if "task: text" in text else ["data.pairs=4", "data.vocab=32"]
    model = mcore.compile(mcore.load_spec(path, [*sets, *pairs, *more]))
    rng = np.random.default_rng(0)
    for array in model.params.values():
        array += 0.1 * rng.standard_normal(array.shape).astype(array.dtype)
    return model


def preset(name: str, *more: str) -> Model:
    return small(FOLDER / f"{name}.yaml", more)


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_presets(path: Path) -> None:
    model = small(path)
    if "logarithmic" in path.read_text():
        with pytest.raises(SpecError, match=r"blocks.0.mixer: segmentation: logarithmic"):
            onnx_model(model, 8, 32)
        return
    graphs = onnx_model(model, max_segments=8, max_tokens=32)
    tokens = np.random.default_rng(1).integers(0, model.vocab, (2, 26))
    wanted, _ = model.forward(tokens)
    (whole,) = runtime(graphs.sequence).run(["logits"], {"tokens": tokens})
    step = streamed(runtime(graphs.step), graphs.step, {"tokens": tokens}, {})
    assert relative_error(whole, wanted) < LIMIT
    assert relative_error(step, wanted) < LIMIT


@pytest.mark.parametrize("join", ["sum", "gate"])
@pytest.mark.parametrize("window", [1, 3])
def test_windows_and_joins(join: str, window: int) -> None:
    blocks = f"model.blocks=[{{mixer: parallel, window: {window}, join: {join}}}]"
    model = preset("hybrid", "model.depth=1", blocks, "model.tied=false", "model.conv=1")
    check = check_graphs(onnx_model(model, 8), model, 20)
    assert check.tokens == 20
    assert check.apart < LIMIT


def test_a_bare_stack_without_convolution_gate_or_mlp() -> None:
    more = ("model.conv=0", "model.mlp=0", "model.output_gate=false", "dtype=float64")
    model = preset("retention", *more)
    assert check_graphs(onnx_model(model, 8), model, 20).apart < LIMIT


def test_attention_sees_as_many_tokens_as_it_is_given() -> None:
    model, tokens = preset("transformer"), np.arange(20)[None] % 32
    with pytest.raises(SpecError, match=r"blocks.0.mixer: attention .* --max-tokens 1024"):
        onnx_model(model)
    graphs = onnx_model(model, max_tokens=12)
    assert check_graphs(graphs, model, 20).tokens == 12
    (bounded,) = runtime(graphs.sequence).run(["logits"], {"tokens": tokens})
    window = preset("transformer", "model.window=12")
    assert relative_error(bounded, window.forward(tokens)[0]) < LIMIT


def test_a_rotation_far_into_a_stream() -> None:
    """Angles in float32 would be off by 1e-2 there."""
    place, heads, width, start = np.array([0, 1_000_003], np.int64), 2, 5, 1_000_003
    at = Declared("at", "B", ("B",), "position", "int64")
    vector = Declared("x", "B H K", ("B", heads, width), "what is turned")

    def body(builder: Builder, x: Any, state: Any) -> Any:
        return rotary(x["x"], x["at"], width), {}

    y = replace(vector, name="y")
    program = Program([at, vector], [], y, [], body, y, lambda builder, hidden, x: hidden)
    rows = np.random.default_rng(0).standard_normal((2, heads, width)).astype(np.float32)
    (turned,) = runtime(step_model(program)).run(["y"], {"at": place, "x": rows})
    for row, begin in enumerate((0, start)):
        wanted, _ = rope.rotary(rows[row][None, None].astype(np.float64), begin)
        assert relative_error(turned[row], wanted[0, 0]) < 1e-6


def test_every_tensor_is_named() -> None:
    for model in onnx_model(preset("hybrid"), 4, 16):
        onnx.checker.check_model(model, full_check=True)
        known = {prop.key: prop.value for prop in model.metadata_props}
        assert known["mcore.version"] == mcore.__version__
        assert parse_spec(known["mcore.spec"], "graph").model.depth == 3
        told = {entry["name"]: entry for entry in json.loads(known["mcore.tensors"])}
        values = [*model.graph.input, *model.graph.output]
        assert list(told) == [value.name for value in values]
        for value in values:
            entry, tensor = told[value.name], value.type.tensor_type
            assert value.doc_string == f"({entry['axes']}) {entry['meaning']}"
            assert len(entry["axes"].split()) == len(entry["shape"])
            assert entry["shape"] == [d.dim_param or d.dim_value for d in tensor.shape.dim]
            dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
            assert np.dtype(entry["dtype"]) == dtype
            assert ("initial" in entry) == (entry["is"] in ("state", "next state"))


def test_the_same_model_gives_the_same_bytes() -> None:
    first, second = (onnx_model(preset("hybrid"), 4, 16) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert content(a) == content(b)


def test_a_graph_of_another_model_is_not_passed() -> None:
    model = preset("delta")
    graphs = onnx_model(model, 8)
    model.params["blocks.0.mixer.out.weight"] *= 1.1
    with pytest.raises(McoreError, match=r"after 8 tokens, .* --check 0 would write"):
        check_graphs(graphs, model, 8)


def test_command(tmp_path: Path, capsys: Capture) -> None:
    snapshot = tmp_path / "small.safetensors"
    preset("hybrid").save(snapshot)
    assert main(["export", str(snapshot)]) == 2
    assert "--onnx would do" in capsys.readouterr().err
    assert main(["export", str(snapshot), "--onnx"]) == 2
    assert capsys.readouterr().err.startswith("blocks.0.mixer: cache: grm over constant")
    bounds = ["--max-segments", "2", "--max-tokens", "20"]
    assert main(["export", str(snapshot), "--onnx", *bounds]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[:2]] == [
        str(tmp_path / f"small.{kind}.onnx") for kind in ("step", "sequence")
    ]
    assert [line.split(" ")[0] for line in lines[2:]] == ["note:"] * 3 + ["checked"]
    assert lines[-1].startswith("checked on 20 tokens: within ")
    out = tmp_path / "other.onnx"
    assert (
        main(["export", str(snapshot), "--onnx", *bounds, "--out", str(out), "--check", "0"]) == 0
    )
    assert "checked" not in capsys.readouterr().out
    assert onnx.load(tmp_path / "other.step.onnx").producer_name == "mcore"
