"""NaN and infinity stop a run, and the message names step, layer, rule, row and token."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import BACKENDS

import mcore
from mcore.arrays import Array
from mcore.data import Batch
from mcore.errors import NonFiniteError
from mcore.model import Model
from mcore.model.blame import blame
from mcore.model.block import Mlp
from mcore.model.memory_mixer import MemoryMixer
from mcore.recurrence import RULES
from mcore.training.evaluate import evaluate
from mcore.training.finite import ADVICE
from mcore.training.optim import AdamW
from mcore.training.step import take_step

VOCAB, SPECIAL = 20, 7
"""SPECIAL: a token that stands nowhere but where a test puts it."""


def model_of(recurrence: Any = "linear", readout: str = "grm", **model: Any) -> Model:
    """Two narrow blocks in float32."""
    sizes = {"width": 12, "depth": 2, "heads": 2, "key": 4, "mlp": 1.0, "conv": 0}
    spec = {
        "model": sizes | model,
        "memory": {
            "recurrence": recurrence,
            "segmentation": {"kind": "constant", "length": 4},
            "readout": readout,
        },
        "data": {"task": "mqar", "vocab": VOCAB, "length": 16, "pairs": 4},
        "train": {"optimizer": {"kind": "adamw", "lr": 0.1}},
        "backend": "reference",
    }
    return mcore.compile(spec)


def batch_of() -> Batch:
    """SPECIAL is token 5 of row 1."""
    tokens = np.random.default_rng(0).integers(0, SPECIAL, (2, 9))
    tokens[1, 5] = SPECIAL
    return Batch(tokens, np.roll(tokens, 1, axis=1))


def mark(model: Model) -> None:
    """Channel 0 is where SPECIAL alone stands, larger than the rest."""
    embedding = model.params["embedding.weight"]
    embedding[:, 0] = 0
    embedding[SPECIAL] = 0
    embedding[SPECIAL, 0] = 1


def step_on(model: Model) -> None:
    optimizer = AdamW(model.params, model.no_decay, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0)
    take_step(3, batch_of(), model, optimizer, model.spec.train)


def test_nothing_is_blamed_where_all_is_finite() -> None:
    for model in (model_of(), model_of(blocks=[{"mixer": "parallel"}, "memory"])):
        assert blame(model, *batch_of()) is None


def test_a_recurrence_that_overflows_is_named_with_row_and_token() -> None:
    model = model_of("retention")
    mark(model)
    model.params["blocks.0.mixer.project.weight"][0] = 1e21
    with pytest.raises(NonFiniteError) as error:
        step_on(model)
    said = str(error.value)
    assert said.startswith("step 3: NaN or infinity in the loss (nan) and the gradient of ")
    assert "first in blocks.0.mixer (memory retention): the recurrence's answer is " in said
    assert "at row 1, token 5, head 0 (its inputs are finite; the largest is " in said
    assert said.endswith("; " + ADVICE)


def test_an_input_that_overflows_is_named() -> None:
    model = model_of("gated_delta")
    mark(model)
    model.params["blocks.1.mixer.project.weight"][...] = 0
    model.params["blocks.1.mixer.project.weight"][:, -1] = 3e38
    with pytest.raises(NonFiniteError, match=r"step 3: .*first in blocks\.1\.mixer "):
        step_on(model)
    assert "(memory gated_delta): the input " in str(blame(model, *batch_of()))


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("embedding.weight", "embedding.weight: the parameter is nan"),
        ("blocks.0.mixer.out.weight", "blocks.0.mixer (memory rwkv7): the parameter out.weight"),
        ("blocks.1.mixer.project.weight", "blocks.1.mixer (memory rwkv7): the parameter project."),
        ("blocks.1.mlp.up.weight", "blocks.1.mlp (mlp): the parameter up.weight is nan"),
        ("final.weight", "final.weight: the parameter is nan"),
        ("head.weight", "head.weight: the parameter is nan"),
    ],
)
def test_a_parameter_that_is_not_finite_is_named(name: str, place: str) -> None:
    model = model_of("rwkv7", tied=False)
    model.params[name].reshape(-1)[1] = np.nan
    with pytest.raises(NonFiniteError) as error:
        step_on(model)
    assert f"first in {place}" in str(error.value)


def test_other_parts_and_parallel_ones_are_named() -> None:
    model = model_of("gla", blocks=[{"mixer": "parallel"}, {"mixer": "attention"}])
    mark(model)
    model.params["blocks.0.mixer.memory.project.weight"][0] = 1e21
    assert "blocks.0.mixer.memory (memory gla): the rec" in str(blame(model, *batch_of()))
    model = model_of(blocks=[{"mixer": "attention"}, "memory"])
    mark(model)
    model.params["blocks.0.mixer.project.weight"][0] = 3e38
    said = str(blame(model, *batch_of()))
    assert said.startswith("blocks.0.mixer (attention): the input q is")
    assert "row 1, token 5" in said


def test_logits_that_overflow_are_named() -> None:
    model = model_of(tied=False)
    model.params["head.weight"][...] = 3e38
    model.params["head.weight"][:, 2] *= -1
    said = str(blame(model, *batch_of()))
    assert said.startswith("head.weight: the logits is nan at row 0, token 0")


def test_a_gradient_that_alone_fails_is_named_by_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("delta")
    target = model.layout.parts["blocks.0.mixer"].part
    original = MemoryMixer.backward

    def broken(self: MemoryMixer, saved: Any, dy: Array) -> tuple[Array, dict[str, Array]]:
        dx, grads = original(self, saved, dy)
        if self is target:
            dx[1, :5] = np.inf
        return dx, grads

    monkeypatch.setattr(MemoryMixer, "backward", broken)
    with pytest.raises(NonFiniteError) as error:
        step_on(model)
    said = str(error.value)
    assert "NaN or infinity in the gradient of embedding.weight; " in said
    place = r"blocks.0.mixer (memory delta): the gradient of its input is nan at row 1, token 4"
    assert f"first in {place}; " in said


def test_a_gradient_of_a_parameter_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of()
    original = Mlp.backward

    def broken(self: Mlp, saved: Any, dy: Array) -> tuple[Array, dict[str, Array]]:
        dx, grads = original(self, saved, dy)
        return dx, grads | {"up.weight": np.full_like(grads["up.weight"], np.nan)}

    monkeypatch.setattr(Mlp, "backward", broken)
    assert str(blame(model, *batch_of())).startswith(
        "blocks.1.mlp (mlp): the gradient of up.weight is nan"
    )


def test_the_held_out_loss_is_placed() -> None:
    model = model_of()
    model.params["blocks.0.mlp.up.weight"][0, 0] = np.inf
    place = r"first in blocks\.0\.mlp \(mlp\): the parameter up\.weight is inf"
    with pytest.raises(NonFiniteError, match=rf"after step 9: .*held-out loss .*{place}"):
        evaluate(model, [batch_of()], "accuracy", 9)


def test_the_state_that_rows_go_on_from_is_looked_at() -> None:
    model, batch = model_of("delta"), batch_of()
    _, state = model.step(batch.tokens)
    assert blame(model, *batch, state) is None
    state["blocks.1.mixer.memory.online"][1] = np.inf
    place = "blocks.1.mixer (memory delta): the state memory.online it goes on from is inf"
    assert str(blame(model, *batch, state)) == place


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", RULES)
def test_a_run_that_diverges_stops_with_a_place(tmp_path: Path, kind: str, backend: str) -> None:
    spec = {
        "model": {"width": 8, "depth": 1, "heads": 2, "key": 2, "mlp": 1.0},
        "memory": {
            "recurrence": kind,
            "segmentation": {"kind": "constant", "length": 8},
            "readout": "grm",
        },
        "data": {"task": "mqar", "vocab": 32, "length": 24, "pairs": 3, "eval_examples": 4},
        "train": {"steps": 9, "batch": 4, "optimizer": {"kind": "adamw", "lr": 3e37}, "warmup": 0},
        "backend": backend,
    }
    with pytest.raises(NonFiniteError, match=r"step \d: NaN or infinity in .*; first in [a-z]"):
        mcore.train(mcore.load_spec(spec), tmp_path / "run")
