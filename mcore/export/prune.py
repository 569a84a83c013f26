"""The last touch to a graph: names of outputs, and without what nothing in it uses.

Formulas ask for more than every case needs.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def pruned(nodes: Sequence[Any], wanted: Iterable[str]) -> tuple[list[Any], set[str]]:
    """The nodes that lead to the wanted names, in their order, and all names that these use."""
    used, kept = set(wanted), []
    for node in reversed(nodes):
        if used.intersection(node.output):
            used.update(node.input)
            used.update(name for body in _bodies(node) for name in _prune(body))
            kept.append(node)
    return kept[::-1], used


def renamed(nodes: Iterable[Any], names: Mapping[str, str]) -> None:
    """Give values other names, wherever they are used; each must be the output of a node."""
    for node in nodes:
        for side in (node.input, node.output):
            side[:] = [names.get(name, name) for name in side]
        for body in _bodies(node):
            renamed(body.node, names)


def _prune(body: Any) -> set[str]:
    """Leave out of a loop's body what it does not need; the names that it uses."""
    nodes, used = pruned(body.node, [value.name for value in body.output])
    del body.node[:]
    body.node.extend(nodes)
    return used


def _bodies(node: Any) -> list[Any]:
    return [attribute.g for attribute in node.attribute if attribute.HasField("g")]
