"""File or mapping -> Spec, with every problem at once: `file:line: path: what; what would do`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mcore.errors import Problem, SpecError
from mcore.spec.compare import compare_findings
from mcore.spec.document import Document
from mcore.spec.overrides import apply_overrides
from mcore.spec.plain import plain
from mcore.spec.schema import Spec
from mcore.spec.suggest import brief, nearest
from mcore.spec.validate import validate
from mcore.spec.yaml_lines import LARGEST, YamlRefusal, read_yaml

_STREAMS = (("/", "dev"), ("/", "proc"))
"""Where the pipes lie that a shell opens: /dev/stdin, <(command)."""

Source = str | Path | Mapping[str, Any] | Spec


def load_spec(source: Source, overrides: Sequence[str] = ()) -> Spec:
    """Read and check a spec.

    Args:
        source: the path of a YAML file, a mapping, or a Spec to override.
        overrides: changes as `mcore train --set` takes them: `"memory.readout.top_k=4"`.

    Raises: SpecError with every problem: in the file, in the overrides, between keys, in the
        variants of `compare`, in data files and backends that are not here.
    """
    return _load(source, overrides, environment=True)


def read_spec(source: Source, overrides: Sequence[str] = ()) -> Spec:
    """As `load_spec`, without asking whether data files and the backend are on this machine.

    For the specs inside run folders and snapshots, whose text may have moved since.

    Raises: SpecError with every problem.
    """
    return _load(source, overrides, environment=False)


def parse_spec(text: str, name: str, overrides: Sequence[str] = ()) -> Spec:
    """As `read_spec`, from YAML text; `name` is what problems are reported of.

    Raises: SpecError with every problem.
    """
    return _checked(apply_overrides(_parsed(text, name), overrides), environment=False)


def _load(source: Source, overrides: Sequence[str], environment: bool) -> Spec:
    return _checked(apply_overrides(_document(source), overrides), environment)


def _checked(document: Document, environment: bool) -> Spec:
    if not isinstance(document.data, dict):
        raise document.error([])
    checked = validate(document.data, environment)
    findings = [*checked.findings, *compare_findings(checked, environment)]
    if findings or document.problems or checked.spec is None:
        raise document.error(findings)
    return checked.spec


def _document(source: Source) -> Document:
    if not isinstance(source, str | Path):
        return plain(source)
    name = _shown(str(source))
    try:
        text = _read(Path(source))
    except YamlRefusal as refusal:
        raise _refused(refusal, name) from None
    return _parsed(text, name)


def _parsed(text: str, name: str) -> Document:
    try:
        document = read_yaml(text, name)
    except YamlRefusal as refusal:
        raise _refused(refusal, name) from None
    if isinstance(document.data, dict):
        return document
    raise SpecError([Problem(name, "", _not_a_spec(document.data))])


def _refused(refusal: YamlRefusal, name: str) -> SpecError:
    where = f"{name}:{refusal.line}" if refusal.line else name
    return SpecError([Problem(where, "", refusal.message)])


def _shown(name: str) -> str:
    return name if name.isprintable() and len(name) < 256 else brief(name)


def _not_a_spec(data: Any) -> str:
    sections = ", ".join(Spec.model_fields)
    if data is None:
        return f"is empty; a spec has sections ({sections}), e.g. data: mqar"
    shape = "a list" if isinstance(data, list) else "a single value"
    return f"is {shape}, not a mapping; a spec has sections ({sections}), e.g. data: mqar"


def _read(path: Path) -> str:
    try:
        if path.is_fifo() and path.resolve().parts[:2] not in _STREAMS:
            raise YamlRefusal(0, "is a pipe; give a YAML file, or /dev/stdin")
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except IsADirectoryError:
        raise YamlRefusal(0, "is a folder; give a YAML file in it") from None
    except (OSError, RuntimeError, ValueError) as error:
        why = (getattr(error, "strerror", None) or str(error)).lower()
        raise YamlRefusal(0, f"cannot be read: {why}{_neighbour(path)}") from None
    if len(data) > LARGEST:
        raise YamlRefusal(0, f"is larger than {LARGEST // 1024} kB; a spec is some 40 lines")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise YamlRefusal(line, "is not UTF-8 text; save the file as UTF-8") from None


def _neighbour(path: Path) -> str:
    try:
        near = nearest(path.name, [other.name for other in path.parent.glob("*.yaml")])
    except (OSError, ValueError):
        return ""
    return f"; did you mean {str(path.with_name(near))!r}?" if near and near != path.name else ""
