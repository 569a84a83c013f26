"""Multi-query associative recall (MQAR), as the Zoology benchmark defines it.

A row begins with `pairs` key-value pairs; later each key comes once more, and the model must name
its value there. Source: Arora et al. 2023, "Zoology", arXiv:2312.04927, section 4 and appendix;
generator `zoology/data/multiquery_ar.py` (`multiquery_ar`) of HazyResearch/zoology:

- keys are distinct, drawn from 1 .. V/2 - 1; values are distinct, drawn from V/2 .. V - 1;
- the query of a key stands at `2 pairs + 2 g`, where the gaps g are drawn without replacement from
  0 .. (T - 2 pairs)/2 - 1 with probability proportional to `(g + 1)^(a - 1)` (a = `gap_power`);
- the label, at the query's own position, is the value; nothing else is scored;
- every other place holds a random token of the whole vocabulary. That is the generator's default
  (`random_non_queries=True`) and what the grid of Arora et al. 2024, "Based", arXiv:2402.18668,
  Figure 2 uses; the older Zoology Figure 2 filled with zeros.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcore.data.task import HELD_OUT, TRAIN, Batch, group, random_stream

_BLOCK = 256


@dataclass(frozen=True)
class Mqar:
    """MQAR rows of `length` tokens, made on the fly.

    Needs length >= 4 pairs, and vocab >= 2 pairs + 2; the spec's schema sees to it.
    """

    vocab: int
    length: int
    pairs: int
    gap_power: float
    eval_examples: int
    batch: int
    seed: int

    @property
    def metric(self) -> str:
        """Share of queries whose value is the most likely token."""
        return "accuracy"

    @property
    def description(self) -> str:
        """The task's sizes in words."""
        return f"mqar: {self.pairs} pairs in {self.length} tokens of {self.vocab}"

    def train_batch(self, step: int) -> Batch:
        """`batch` fresh rows for a step."""
        return self._rows(random_stream(self.seed, TRAIN, step), self.batch)

    def eval_batches(self) -> Iterator[Batch]:
        """`eval_examples` rows of a stream of their own; the set does not depend on `batch`."""
        return group(self._held_out(), self.batch)

    def _held_out(self) -> Iterator[Batch]:
        for block in range(-(-self.eval_examples // _BLOCK)):
            rows = min(_BLOCK, self.eval_examples - block * _BLOCK)
            yield self._rows(random_stream(self.seed, HELD_OUT, block), rows)

    def _rows(self, rng: np.random.Generator, rows: int) -> Batch:
        half = self.vocab // 2
        keys = 1 + _distinct(rng, rows, self.pairs, half - 1)
        values = half + _distinct(rng, rows, self.pairs, self.vocab - half)
        places = 2 * self.pairs + 2 * self._gaps(rng, rows)
        tokens = rng.integers(0, self.vocab, (rows, self.length))
        tokens[:, 0 : 2 * self.pairs : 2] = keys
        tokens[:, 1 : 2 * self.pairs : 2] = values
        np.put_along_axis(tokens, places, keys, axis=1)
        labels = np.full_like(tokens, -1)
        np.put_along_axis(labels, places, values, axis=1)
        return Batch(tokens, labels)

    def _gaps(self, rng: np.random.Generator, rows: int) -> NDArray[np.int64]:
        """Power-law gaps (rows, pairs), distinct within a row.

        Drawing without replacement is the same as racing exponential clocks, one for each gap,
        whose rates are the weights (Efraimidis and Spirakis 2006): the order of arrival counts.
        """
        space = (self.length - 2 * self.pairs) // 2
        rate = np.arange(1, space + 1) ** (self.gap_power - 1.0)
        arrival = rng.standard_exponential((rows, space)) / rate
        return np.argsort(arrival, axis=1, kind="stable")[:, : self.pairs].astype(np.int64)


def _distinct(rng: np.random.Generator, rows: int, count: int, size: int) -> NDArray[np.int64]:
    """(rows, count) numbers below `size`, distinct within a row, every order equally likely.

    Floyd's algorithm on all rows at once: `count` draws a row, whatever `size` is.
    """
    chosen = np.empty((rows, count), np.int64)
    for i, top in enumerate(range(size - count, size)):
        draw = rng.integers(0, top + 1, rows)
        taken = (chosen[:, :i] == draw[:, None]).any(axis=1)
        chosen[:, i] = np.where(taken, top, draw)
    return rng.permuted(chosen, axis=1)
