"""The data section of real-valued sequences: forecasts, classes and values."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from mcore.spec.schema.base import BelowOne, Count, Finding, Listed, refuse
from mcore.spec.schema.data_kind import DataKind, must_exist


def _text(value: Any) -> Any:
    """A label that is a whole number, as the text that stands for it in a file."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


_Name = Annotated[str, Field(min_length=1)]
_Names = Annotated[tuple[_Name, ...], Listed]
_Classes = Annotated[tuple[Annotated[_Name, BeforeValidator(_text)], ...], Listed]
_Paths = Annotated[tuple[Annotated[str, AfterValidator(must_exist)], ...], Listed]


class SeriesSpec(DataKind):
    """Sequences of real numbers, from CSV, NPY, NPZ, Parquet or .ts files."""

    task: Literal["series"] = Field(
        default="series", description="Forecast, classify or value sequences of real numbers."
    )
    paths: _Paths = Field(
        default=(), description="Files, patterns (*, **) and folders, from the current directory."
    )
    columns: Annotated[_Names, Field(min_length=1)] = Field(
        description="The channels a model sees (C): columns of a table, or names for an array's."
    )
    head: Literal["forecast", "classify", "regress"] = Field(
        default="forecast",
        description="What is predicted: the next values of targets, a row's class, a row's value.",
    )
    target: _Names = Field(default=(), description="forecast: the columns to predict.")
    horizon: Count = Field(default=1, description="forecast: tokens ahead, each of them predicted.")
    label: str | None = Field(
        default=None, description="classify, regress: column or array with the label of a row."
    )
    classes: _Classes = Field(default=(), description="classify: all labels, in the logits' order.")
    group: str | None = Field(
        default=None, description="Column whose value tells series apart; else a file is one."
    )
    length: Count = Field(default=256, description="Tokens in a row (T).")
    validation: BelowOne = Field(
        default=0.2, description="Share that is held out: last tokens of a forecast, else rows."
    )
    test: _Paths = Field(
        default=(), description="Files that are held out; validation is not used then."
    )
    loss: Literal["mse", "mae", "huber"] = Field(
        default="mse", description="forecast, regress: what an error costs."
    )
    pool: Literal["mean", "last"] = Field(
        default="mean",
        description="classify, regress: read from the mean of all tokens so far, or the last.",
    )

    @property
    def vocab(self) -> int:
        """0: data are real numbers."""
        return 0

    @property
    def outputs(self) -> int:
        """Numbers that are predicted at a token (O)."""
        if self.head == "forecast":
            return self.horizon * len(self.target)
        return len(self.classes) if self.head == "classify" else 1

    @property
    def anchors(self) -> tuple[int, ...]:
        """For each output of a forecast, its target's place among the columns."""
        if self.head != "forecast":
            return ()
        return tuple(map(self.columns.index, self.target)) * self.horizon

    @model_validator(mode="after")
    def _check(self) -> Self:
        refuse([*_twice(self), *_needed(self), *_foreign(self)])
        return self


def _twice(data: SeriesSpec) -> list[Finding]:
    found = []
    for key in ("columns", "target", "classes"):
        names = getattr(data, key)
        again = next((name for name in names if names.count(name) > 1), None)
        if again is not None:
            found.append(Finding((key,), f"names {again!r} twice; name it once"))
    return found


def _needed(data: SeriesSpec) -> list[Finding]:
    """What a head cannot do without."""
    if data.head == "forecast" and not data.target:
        message = f"is missing; name columns to predict, e.g. target: [{data.columns[0]}]"
        return [Finding(("target",), message, (("head",),))]
    strange = [name for name in data.target if name not in data.columns]
    if data.head == "forecast" and strange:
        message = f"{strange[0]!r} is not among columns; a forecast goes on from its last value"
        return [Finding(("target",), message + ", so add it there", (("columns",),))]
    if data.head == "classify" and len(data.classes) < 2:
        message = "names fewer than two labels; list all of them, e.g. classes: [walk, run]"
        return [Finding(("classes",), message, (("head",),))]
    return []


_HEADS = {
    "target": ("forecast",),
    "horizon": ("forecast",),
    "label": ("classify", "regress"),
    "classes": ("classify",),
    "loss": ("forecast", "regress"),
    "pool": ("classify", "regress"),
}


def _foreign(data: SeriesSpec) -> list[Finding]:
    """Keys that belong to another head and are not as they are by default."""
    found = []
    for key, heads in _HEADS.items():
        usual = type(data).model_fields[key].default
        if data.head not in heads and getattr(data, key) != usual:
            message = f"belongs to head {' or '.join(heads)}, and this is {data.head}; drop it"
            found.append(Finding((key,), message, (("head",),)))
    return found
