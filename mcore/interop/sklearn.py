"""Estimators in the manner of scikit-learn: classes and values of real-valued series.

    SeriesClassifier().fit(x, y).predict(x)        x (n, T, C): n series of T tokens and C channels

A matrix (n, T) is n series of one channel: each feature is a token, in the order of the columns.
Needs scikit-learn: pip install mcore[sklearn].
"""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from mcore.arrays import Array
from mcore.interop.series_fit import Settings, answers, fit_rows
from mcore.model import Model
from mcore.spec import dump_spec
from mcore.spec.compile import compile as compile_model
from mcore.spec.load import parse_spec

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.utils import check_random_state, column_or_1d
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise ImportError(f"{error}; pip install mcore[sklearn] installs scikit-learn") from error

__all__ = ["SeriesClassifier", "SeriesRegressor"]


class SeriesEstimator(BaseEstimator):  # type: ignore[misc]
    """What both estimators share: the network, its training, and what goes in.

    Missing values (NaN) are allowed and count as their channel's mean; series that are shorter
    than others may be filled up with NaN in front.

    Args:
        recurrence: of the memories: a name, or a mapping with its options, as in a spec.
        segment: tokens between two checkpoints.
        readout: how checkpoints are weighed; a name or a mapping.
        width, depth, heads: of the network.
        steps, batch, lr, weight_decay: of its training by AdamW.
        dtype: `float64` gives a row the same answer alone and among others, to 1e-7; `float32`
            is faster.
        threads: cores that share a batch.
        random_state: decides the starting values and the order of rows.

    Attributes:
        model_: the trained `mcore.Model`; `model_.session()` streams.
        n_features_in_: T.
        channels_: C.
    """

    def __init__(
        self,
        *,
        recurrence: str | dict[str, Any] = "gated_delta",
        segment: int = 16,
        readout: str | dict[str, Any] = "grm",
        width: int = 32,
        depth: int = 1,
        heads: int = 2,
        steps: int = 200,
        batch: int = 32,
        lr: float = 5e-3,
        weight_decay: float = 0.1,
        dtype: str = "float64",
        threads: int = 1,
        random_state: Any = None,
    ) -> None:
        self.recurrence = recurrence
        self.segment = segment
        self.readout = readout
        self.width = width
        self.depth = depth
        self.heads = heads
        self.steps = steps
        self.batch = batch
        self.lr = lr
        self.weight_decay = weight_decay
        self.dtype = dtype
        self.threads = threads
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.three_d_array = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = dict(super().__getstate__())
        model: Model | None = state.get("model_")
        if model is not None:
            state["model_"] = dump_spec(model.spec), model.arrays
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "model_" in state:
            text, arrays = state["model_"]
            model = compile_model(parse_spec(text, "estimator"))
            for name, array in model.arrays.items():
                array[...] = arrays[name]
            state = {**state, "model_": model}
        super().__setstate__(state)

    def _checked(self, x: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
        """x as (n, T, C), and y as (n,)."""
        ways = {"allow_nd": True, "ensure_all_finite": "allow-nan", "dtype": "numeric"}
        given = validate_data(self, x, y, **ways, multi_output=True)
        rows, labels = _three_axes(given[0]), column_or_1d(given[1], warn=True)
        self.channels_ = rows.shape[2]
        return rows, labels

    def _fit(self, x: Array, labels: Array, data: dict[str, Any]) -> Self:
        self.model_ = fit_rows(x, labels, data, self._settings())
        return self

    def _outputs(self, x: ArrayLike) -> Array:
        check_is_fitted(self)
        ways = {"allow_nd": True, "ensure_all_finite": "allow-nan", "dtype": "numeric"}
        rows = _three_axes(validate_data(self, x, reset=False, **ways))
        if rows.shape[2] != self.channels_:
            what = f"X has {rows.shape[2]} channels, and there were {self.channels_} in fit"
            raise ValueError(f"{what}; give as many")
        return answers(self.model_, rows)

    def _settings(self) -> Settings:
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        memory = {
            "recurrence": self.recurrence,
            "segmentation": {"kind": "constant", "length": self.segment},
            "readout": self.readout,
        }
        model = {"width": self.width, "depth": self.depth, "heads": self.heads}
        optimizer = {"kind": "adamw", "lr": self.lr, "weight_decay": self.weight_decay}
        train = {"steps": self.steps, "batch": self.batch, "seed": seed, "optimizer": optimizer}
        return Settings(memory, model, train, self.dtype, self.threads)


class SeriesClassifier(ClassifierMixin, SeriesEstimator):  # type: ignore[misc]
    """The class of a series, by a memory-caching network that reads it token by token.

    Arguments and attributes are those of `SeriesEstimator`; after fit, `classes_` are the labels in
    the order of the columns of `predict_proba`.

    Example:
        SeriesClassifier(random_state=0).fit(x, y).predict_proba(x)
    """

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Train on series X (n, T, C) or (n, T) with labels y (n,).

        Raises:
            ValueError: what scikit-learn refuses, or fewer than two classes.
            SpecError: an argument of the estimator that is wrong.
        """
        x, labels = self._checked(X, y)
        check_classification_targets(labels)
        self.classes_, numbers = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y holds one class, {self.classes_[0]}; two or more would do")
        names = [str(number) for number in range(len(self.classes_))]
        return self._fit(x, numbers, {"head": "classify", "classes": names})

    def predict_proba(self, X: ArrayLike) -> Array:
        """Probabilities (n, classes)."""
        logits = self._outputs(X).astype("float64")
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities: Array = p / p.sum(axis=1, keepdims=True)
        return probabilities

    def predict(self, X: ArrayLike) -> Array:
        """The most probable class of each series, (n,)."""
        best = self.predict_proba(X).argmax(axis=1)
        found: Array = self.classes_[best]
        return found


class SeriesRegressor(RegressorMixin, SeriesEstimator):  # type: ignore[misc]
    """A value for each series, by a memory-caching network that reads it token by token.

    Arguments and attributes are those of `SeriesEstimator`. The loss is the squared error.

    Example:
        SeriesRegressor(random_state=0).fit(x, y).predict(x)
    """

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Train on series X (n, T, C) or (n, T) with values y (n,).

        Raises:
            ValueError: what scikit-learn refuses.
            SpecError: an argument of the estimator that is wrong.
        """
        x, labels = self._checked(X, y)
        return self._fit(x, labels.astype("float64"), {"head": "regress"})

    def predict(self, X: ArrayLike) -> Array:
        """The value of each series, (n,)."""
        return self._outputs(X)[:, 0]


def _three_axes(x: Array) -> Array:
    """(n, T, C) of (n, T, C) or (n, T), in float64."""
    if x.ndim not in (2, 3):
        raise ValueError(f"X has shape {x.shape}; (n, T, C) or (n, T) would do")
    return np.asarray(x if x.ndim == 3 else x[..., None], "float64")
