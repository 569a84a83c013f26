"""The data section: what the model is trained on."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from mcore.spec.schema.base import BelowOne, Count, Finding, Listed, Positive, Shorthand, refuse
from mcore.spec.schema.data_kind import DataKind, must_exist
from mcore.spec.schema.series import SeriesSpec


class MqarSpec(DataKind):
    """Multi-query associative recall: key-value pairs, then questions (Zoology)."""

    task: Literal["mqar"] = Field(
        default="mqar", description="Recall the values of keys seen before."
    )
    vocab: Annotated[Count, Field(ge=4)] = Field(
        default=8192, description="Tokens; keys come from the lower half, values from the upper."
    )
    length: Count = Field(default=256, description="Tokens in a row (T).")
    pairs: Count = Field(default=16, description="Key-value pairs in a row.")
    gap_power: Positive = Field(
        default=0.01, description="Power law of the gap before a key is asked; small = soon."
    )
    eval_examples: Count = Field(default=1024, description="Held-out rows.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        found = []
        if 4 * self.pairs > self.length:
            message = (
                f"{self.pairs} pairs and their queries need a length of {4 * self.pairs}, and "
                f"length is {self.length}; {max(1, self.length // 4)} pairs would fit"
            )
            found.append(Finding(("pairs",), message, (("length",),)))
        if self.pairs >= self.vocab // 2:
            message = (
                f"{self.pairs} pairs need a vocab of {2 * self.pairs + 2} or more: half of it are "
                "keys, and token 0 is none of them"
            )
            found.append(Finding(("vocab",), message, (("pairs",),)))
        refuse(found)
        return self


class TextSpec(DataKind):
    """The next byte of text: files the spec names, or the Python library."""

    task: Literal["text"] = Field(default="text", description="Predict the next byte of files.")
    corpus: Literal["python-stdlib"] | None = Field(
        default=None, description="Text that is on every machine: the sources of Python's library."
    )
    paths: Annotated[tuple[Annotated[str, AfterValidator(must_exist)], ...], Listed] = Field(
        default=(), description="Files, patterns (*, **) and folders, from the current directory."
    )
    length: Count = Field(default=256, description="Bytes in a row (T).")
    documents: bool = Field(
        default=False, description="Keep files apart: no byte of a row sees another file's."
    )
    validation: BelowOne = Field(default=0.1, description="Share of the files that is held out.")
    eval_bytes: Count = Field(
        default=1_000_000, description="Held-out bytes that are scored, at most."
    )

    @property
    def vocab(self) -> int:
        """Tokens are bytes."""
        return 256

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.corpus is None and not self.paths:
            message = (
                "no text is named; give paths: [files, patterns or folders], or corpus: "
                "python-stdlib"
            )
            refuse([Finding(("paths",), message, (("corpus",),))])
        if self.corpus is not None and self.paths:
            message = "corpus and paths are both given; drop one of them"
            refuse([Finding(("corpus",), message, (("paths",),))])
        return self


DataSpec = Annotated[
    MqarSpec | TextSpec | SeriesSpec, Field(discriminator="task"), Shorthand("task")
]
