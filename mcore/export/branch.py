"""Work that is rarely needed: a branch of the graph that is run when a flag is up."""

from collections.abc import Callable, Mapping

from mcore.export.builder import Builder, Tensor, code, onnx

Values = dict[str, Tensor]


def rarely(
    flag: Tensor, before: Mapping[str, Tensor], change: Callable[[Values], Mapping[str, Tensor]]
) -> Values:
    """`change(before)` where the flag, one bool, is up; else what was there.

    Args:
        flag: shape ().
        before: values by name, with all that `change` needs.
        change: gives new values for some of the names.
    """
    builder = flag.builder
    inner = Builder(builder)
    changed = change({name: inner.outer(x) for name, x in before.items()})
    idle = Builder(builder)
    kept = {name: idle.copy(before[name]) for name in changed}
    branches = {
        "then_branch": _branch(inner, changed, "then"),
        "else_branch": _branch(idle, kept, "else"),
    }
    dtypes = [x.dtype for x in changed.values()]
    found = builder.nodes_out("If", [flag], dtypes, branches)
    return dict(zip(changed, found, strict=True))


def _branch(builder: Builder, values: Mapping[str, Tensor], name: str) -> object:
    make = onnx().helper.make_tensor_value_info
    outputs = [make(x.name, code(x.dtype), None) for x in values.values()]
    return onnx().helper.make_graph(builder.nodes, name, [], outputs)
