"""Tasks: where tokens and labels come from."""

from typing import Literal, Protocol

from mcore.data.compression import compression_table
from mcore.data.mqar import Mqar
from mcore.data.series.task import SeriesData, SeriesTask, series_task
from mcore.data.task import Batch, PackedBatch, Task
from mcore.data.text import Text, open_text

__all__ = [
    "Batch",
    "DataSpec",
    "Mqar",
    "PackedBatch",
    "SeriesTask",
    "Task",
    "Text",
    "compression_table",
    "make_task",
]


class MqarSpec(Protocol):
    """What `make_task` reads of a spec's `data` when its task is `mqar`."""

    @property
    def task(self) -> Literal["mqar"]: ...
    @property
    def vocab(self) -> int: ...
    @property
    def length(self) -> int: ...
    @property
    def pairs(self) -> int: ...
    @property
    def gap_power(self) -> float: ...
    @property
    def eval_examples(self) -> int: ...


class TextSpec(Protocol):
    """What `make_task` reads of a spec's `data` when its task is `text`."""

    @property
    def task(self) -> Literal["text"]: ...
    @property
    def corpus(self) -> str | None: ...
    @property
    def paths(self) -> tuple[str, ...] | list[str]: ...
    @property
    def length(self) -> int: ...
    @property
    def documents(self) -> bool: ...
    @property
    def validation(self) -> float: ...
    @property
    def eval_bytes(self) -> int: ...


DataSpec = MqarSpec | TextSpec | SeriesData


def make_task(data: DataSpec, batch: int, seed: int) -> Task:
    """The task that a spec's `data` describes, in batches of `batch` rows.

    Raises: DataError when files are missing, empty, unreadable or wrong.
    """
    if data.task == "mqar":
        sizes = (data.vocab, data.length, data.pairs, data.gap_power, data.eval_examples)
        return Mqar(*sizes, batch, seed)
    if data.task == "series":
        return series_task(data, batch, seed)
    train, held_out = open_text(data.corpus, data.paths, data.validation, data.eval_bytes)
    return Text(train, held_out, data.length, batch, seed, data.documents)
