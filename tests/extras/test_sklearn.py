"""Estimators in the manner of scikit-learn: its own checks, and what series add."""

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from mcore.arrays import Array
from mcore.errors import SpecError
from mcore.interop.sklearn import SeriesClassifier, SeriesRegressor

SMALL: dict[str, Any] = {"width": 16, "batch": 16, "random_state": 0}


REGRESSOR: dict[str, Any] = SMALL | {"steps": 150, "batch": 32, "lr": 1e-2, "segment": 4}


@parametrize_with_checks(  # type: ignore[untyped-decorator]
    [SeriesClassifier(steps=60, **SMALL), SeriesRegressor(**REGRESSOR)]
)
@pytest.mark.filterwarnings("default")
def test_the_checks_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


def waves(rows: int = 24, seed: int = 0) -> tuple[Array, Array]:
    """Two channels of 20 tokens; slow waves are named `slow`, fast ones `fast`."""
    rng = np.random.default_rng(seed)
    fast = np.arange(rows) % 2
    time = np.arange(20) * np.where(fast, 1.6, 0.5)[:, None] + rng.uniform(0, 6, (rows, 1))
    x = np.stack([np.sin(time), np.cos(time)], axis=2) + 0.1 * rng.standard_normal((rows, 20, 2))
    return 40 + 7 * x, np.where(fast, "fast", "slow")


def test_series_with_channels() -> None:
    x, y = waves()
    model = SeriesClassifier(steps=60, **SMALL).fit(x, y)
    other, truth = waves(seed=1)
    assert model.score(other, truth) == 1
    assert model.classes_.tolist() == ["fast", "slow"]
    assert (model.n_features_in_, model.channels_) == (20, 2)
    np.testing.assert_allclose(model.predict_proba(x).sum(axis=1), 1, rtol=1e-12)


def test_a_stream_ends_with_the_prediction() -> None:
    x, y = waves()
    model = SeriesClassifier(steps=20, **SMALL).fit(x, y)
    session = model.model_.session()
    pieces = [session.feed(x[0, a:b]) for a, b in ((0, 7), (7, 20))]
    logits = pieces[-1][-1]
    p = np.exp(logits - logits.max())
    np.testing.assert_allclose(p / p.sum(), model.predict_proba(x[:1])[0], rtol=1e-9)


def test_values_of_series() -> None:
    x, _ = waves(48)
    y = 1000 + 3 * x[:, :, 0].max(axis=1)
    model = SeriesRegressor(**REGRESSOR).fit(x, y)
    assert model.score(x, y) > 0.5


def test_the_same_seed_gives_the_same_numbers() -> None:
    x, y = waves()
    first, second = (SeriesClassifier(steps=5, **SMALL).fit(x, y) for _ in range(2))
    np.testing.assert_array_equal(first.predict_proba(x), second.predict_proba(x))
    third = clone(first).set_params(random_state=1).fit(x, y)
    assert not np.array_equal(first.predict_proba(x), third.predict_proba(x))


def test_pickled_and_read_back() -> None:
    x, y = waves()
    model = SeriesClassifier(steps=5, **SMALL).fit(x, y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(x), model.predict_proba(x))


def test_missing_values_count_as_the_mean() -> None:
    x, y = waves()
    model = SeriesClassifier(steps=5, **SMALL).fit(x, y)
    holes, filled = x.copy(), x.copy()
    holes[:, 3, 1] = np.nan
    filled[:, 3, 1] = model.model_.fixed["input.mean"][1]
    np.testing.assert_allclose(model.predict_proba(holes), model.predict_proba(filled), rtol=1e-9)


def test_in_a_pipeline_and_a_search() -> None:
    x, y = waves()
    flat = x[:, :, 0]
    steps = make_pipeline(StandardScaler(), SeriesClassifier(steps=5, **SMALL))
    assert cross_val_score(steps, flat, y, cv=2).shape == (2,)
    search = GridSearchCV(SeriesClassifier(steps=5, **SMALL), {"segment": [4, 8]}, cv=2).fit(x, y)
    assert search.best_params_["segment"] in (4, 8)


def test_errors_say_what_would_do() -> None:
    x, y = waves()
    with pytest.raises(NotFittedError):
        SeriesRegressor().predict(x)
    with pytest.raises(ValueError, match="y holds one class, a; two or more"):
        SeriesClassifier().fit(x, np.full(len(x), "a"))
    with pytest.raises(ValueError, match=r"X has shape .*; \(n, T, C\) or \(n, T\) would do"):
        SeriesClassifier().fit(x[..., None], y)
    with pytest.raises(SpecError, match=r"memory\.recurrence: 'gated_delt' is not a recurrence"):
        SeriesClassifier(recurrence="gated_delt").fit(x, y)
    model = SeriesClassifier(steps=1, **SMALL).fit(x, y)
    with pytest.raises(ValueError, match="X has 1 channels, and there were 2 in fit"):
        model.predict(x[..., :1])


def test_the_example_of_the_documentation() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "series.md").read_text()
    (block,) = [b for b in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "sklearn" in b]
    scope: dict[str, Any] = {}
    exec(block, scope)
    assert scope["model"].score(scope["x"][20:], scope["fast"][20:]) == 1
