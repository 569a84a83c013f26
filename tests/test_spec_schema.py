"""The schema: defaults, strictness, what follows from a spec, and its description for editors."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from mcore.errors import SpecError
from mcore.readout import READOUTS
from mcore.recurrence import RULES
from mcore.segmentation import SEGMENTATIONS
from mcore.spec import Spec, json_schema, load_spec
from mcore.spec.lookup import names_at, sections_at
from mcore.spec.schema import MemorySpec, MovingAverage, TextSpec
from mcore.testing import strategies

SPECS = sorted((Path(__file__).parent / "specs").glob("*.yaml"))


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_good_specs_load(path: Path) -> None:
    assert isinstance(load_spec(path), Spec)


def test_defaults_are_the_first_choices() -> None:
    spec = load_spec({})
    axes = spec.memory
    assert (axes.recurrence.kind, axes.segmentation.kind) == ("linear", "none")
    assert (axes.readout.kind, axes.start) == ("none", "independent")
    assert (spec.data.task, spec.backend.kind, spec.dtype) == ("mqar", "numba", "float32")
    assert (spec.model.key_width, spec.model.value_width) == (32, 32)
    assert spec.train.warmup_steps == 100


@pytest.mark.parametrize(
    ("axis", "known"),
    [("recurrence", RULES), ("segmentation", SEGMENTATIONS), ("readout", READOUTS)],
)
def test_schema_knows_what_the_library_knows(axis: str, known: dict[str, Any]) -> None:
    assert set(names_at(("memory", axis))) == set(known)


@pytest.mark.parametrize("choice", [*strategies.RECURRENCES, *strategies.READOUTS])
def test_schema_takes_what_memory_takes(choice: strategies.Axis) -> None:
    axis = "recurrence" if choice in strategies.RECURRENCES and choice != "none" else "readout"
    spec = load_spec({"memory": {axis: choice, "segmentation": "constant"}})
    kind = choice if isinstance(choice, str) else choice["kind"]
    assert getattr(spec.memory, axis).kind == kind


def test_shorthand_is_the_mapping() -> None:
    short = {"data": "mqar", "backend": "reference", "train": {"optimizer": "adamw"}}
    long = {
        "data": {"task": "mqar"},
        "backend": {"kind": "reference"},
        "train": {"optimizer": {"kind": "adamw"}},
    }
    assert load_spec(short) == load_spec(long)


def test_a_spec_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load_spec({}).model.width = 3


def test_keys_are_checked_without_the_loader_too() -> None:
    with pytest.raises(ValidationError):
        MemorySpec.model_validate({"readout": "grm"})


@pytest.mark.parametrize("value", ["3", 3.0, True, None, [3], {"a": 3}])
def test_only_whole_numbers_are_whole_numbers(value: object) -> None:
    with pytest.raises(SpecError, match=r"train\.steps: .*a whole number"):
        load_spec({"train": {"steps": value}})


def test_whole_numbers_are_numbers() -> None:
    assert load_spec({"train": {"clip": 2}}).train.clip == 2.0


@pytest.mark.parametrize(
    ("warmup", "steps"), [(0, 0), (1, 1), (1.0, 50), (0.0, 0), (0.1, 5), (50, 50)]
)
def test_warmup_is_a_fraction_or_steps(warmup: float, steps: int) -> None:
    assert load_spec({"train": {"steps": 50, "warmup": warmup}}).train.warmup_steps == steps


def test_moving_average_rate() -> None:
    ema = MovingAverage.model_validate({"kind": "moving_average", "weights": "ema"})
    assert (ema.rate, MovingAverage().rate) == (0.5, None)


def test_text_has_as_many_tokens_as_bytes() -> None:
    assert TextSpec(corpus="python-stdlib").vocab == 256


def test_blocks_inherit_from_the_sections() -> None:
    spec = load_spec(SPECS[0].with_name("hybrid.yaml"))
    blocks, memories = spec.model.resolved_blocks(), spec.memories()
    assert [block.window for block in blocks] == [None, 16, None, 64]
    assert [memory and memory.readout.kind for memory in memories] == [
        "soup",
        None,
        "moving_average",
        "soup",
    ]
    assert [memory and memory.segmentation.kind for memory in memories[2:]] == ["given", "given"]


def test_without_blocks_all_are_alike() -> None:
    spec = load_spec({"model": {"depth": 3, "mixer": "attention", "window": 8}})
    assert [(block.mixer, block.window) for block in spec.model.resolved_blocks()] == [
        ("attention", 8)
    ] * 3
    assert spec.memories() == (None, None, None)


def every_section(section: type[BaseModel] = Spec, path: tuple[str, ...] = ()) -> set[type[Any]]:
    found: set[type[Any]] = {section}
    for name in section.model_fields:
        for inner in sections_at((*path, name)):
            found |= every_section(inner, (*path, name))
    return found


def test_every_key_is_described() -> None:
    sections = every_section()
    assert len(sections) > 20
    for section in sections:
        assert section.__doc__
        assert all(field.description for field in section.model_fields.values()), section


def test_json_schema() -> None:
    schema = json_schema()
    assert json.loads(json.dumps(schema)) == schema
    readout = schema["$defs"]["MemorySpec"]["properties"]["readout"]["anyOf"]
    assert readout[0] == {"type": "string", "enum": names_at(("memory", "readout"))}
    assert schema["$defs"]["Ssc"]["required"] == ["kind"]
    assert schema["$defs"]["Given"]["required"] == ["kind", "lengths"]
    assert schema["$defs"]["ModelSpec"]["properties"]["width"]["minimum"] == 1
