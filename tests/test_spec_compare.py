"""`compare`: variants of a spec."""

from typing import Any

import pytest

from mcore.errors import SpecError
from mcore.spec import load_spec, variants

MEMORY: dict[str, Any] = {"segmentation": "constant", "readout": {"kind": "ssc", "top_k": 3}}


def compared(**changes: dict[str, Any]) -> dict[str, Any]:
    return {"memory": MEMORY, "compare": changes}


def test_variants_are_complete_specs() -> None:
    spec = load_spec(
        compared(
            grm={"memory.readout": "grm"},
            plain={"memory.readout.kind": "none", "memory.segmentation": "none"},
            wide={"model.width": 256, "train.optimizer.lr": 1e-3},
        )
    )
    found = variants(spec)
    assert list(found) == ["grm", "plain", "wide"]
    assert found["grm"].memory.readout.kind == "grm"
    assert found["plain"].memory.segmentation.kind == "none"
    assert found["wide"].memory == spec.memory
    assert found["wide"].train.optimizer.lr == 1e-3
    assert all(variant.compare == {} for variant in found.values())


def test_no_variants() -> None:
    assert variants(load_spec({})) == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"memory.readout": "scc"}, "compare.x.memory.readout: 'scc' is not a readout"),
        ({"memory.segmentation": "none"}, "compare.x.memory.readout: ssc reads cached"),
        ({"memory": {"readout": "grm"}}, "compare.x.memory.readout: grm reads cached"),
        ({"backend": "numab"}, "compare.x.backend: 'numab' is not an installed backend"),
        ({"compare": {}}, "compare.x.compare: variants do not compare"),
        ({"a.b": 1}, "compare.x.a: unknown key"),
        ({"model.blocks.0.window": 1}, "compare.x.model.blocks: is not listed in this spec"),
        ({"model.heads.x": 1}, "compare.x.model.heads: is 4, a value"),
    ],
)
def test_wrong_variants(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_spec(compared(x=changes))
    assert len(caught.value.problems) == 1
    assert str(caught.value).startswith(message)


def test_what_is_wrong_with_the_base_is_said_once() -> None:
    source = compared(x={"train.steps": 5}, y={"memory.readout": "grm"}) | {"dtype": "float"}
    with pytest.raises(SpecError) as caught:
        load_spec(source)
    assert len(caught.value.problems) == 1
