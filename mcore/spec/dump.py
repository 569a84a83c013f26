"""Spec -> YAML that loads to an equal spec: for run folders and `mcore spec show`."""

from typing import Any

import yaml

from mcore.spec.scalars import SpecDumper
from mcore.spec.schema import Spec

_BLOCK_DEPTH = 2
"""Sections are written one key a line; what is deeper, within braces."""


def dump_spec(spec: Spec) -> str:
    """All keys of a spec, defaults included, as YAML."""
    node = _node(plain_spec(spec), 0)
    text: str = yaml.serialize(node, Dumper=SpecDumper, width=100)
    return text


def plain_spec(spec: Spec) -> dict[str, Any]:
    """A spec as dicts, lists and scalars."""
    data: dict[str, Any] = _plain(spec.model_dump())
    return data


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def _node(value: Any, depth: int) -> yaml.Node:
    if isinstance(value, dict):
        pairs = [(_node(key, depth), _node(item, depth + 1)) for key, item in value.items()]
        flow = depth >= _BLOCK_DEPTH or not pairs
        return yaml.MappingNode("tag:yaml.org,2002:map", pairs, flow_style=flow)
    if isinstance(value, list):
        items = [_node(item, depth + 1) for item in value]
        return yaml.SequenceNode("tag:yaml.org,2002:seq", items, flow_style=True)
    return _scalar(value)


def _scalar(value: Any) -> yaml.Node:
    if value is None:
        return yaml.ScalarNode("tag:yaml.org,2002:null", "null")
    kind = type(value).__name__
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return yaml.ScalarNode(f"tag:yaml.org,2002:{kind}", text)
