"""Models as plain parts: taken apart, through JSON and arrays, and put together again they are the same."""

from __future__ import annotations

import pandas as pd
import pytest

from forecast_cohorts import simulated
from forecast_parts import same, travelled
from icans.core.errors import DataError
from icans.forecast import preprocess_parts
from icans.forecast.dataset import examples
from icans.forecast.models.boosting import Boosting
from icans.forecast.models.cox import LandmarkCox
from icans.forecast.models.logistic import LastValueLogistic
from icans.forecast.models.parts import KINDS, from_parts, to_parts
from icans.forecast.models.prevalence import Prevalence
from icans.forecast.models.recalibrated import Recalibrated
from icans.forecast.outcomes import TASKS, Horizon
from icans.forecast.preprocess import PrepareSpec, preprocessor

HORIZONS = (Horizon(72.0), Horizon(168.0), Horizon(24.0 * 12, until=True))
DATA = examples(simulated(120, seed=3), TASKS["icans_any"], (48.0, 120.0))
FEW = {"inner_folds": 2, "penalties": (1.0, 0.1)}

MODELS = {
    "prevalence": Prevalence(),
    "score": Recalibrated(("grade.CRS.max",)),
    "shift": Recalibrated(("grade.CRS.max",), method="intercept"),
    "logistic": LastValueLogistic(**FEW),
    "cox": LandmarkCox(**FEW),
    "supermodel": LandmarkCox(interactions=True, **FEW),
    "boosting": Boosting(trees=(10,), inner_folds=2),
    "no_trees": Boosting(trees=(0,), inner_folds=2),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_taken_apart_and_put_together_is_the_same(name):
    fitted = MODELS[name].fit(DATA.table, DATA.outcome, HORIZONS, seed=1)
    again = from_parts(*travelled(to_parts(fitted)))
    assert type(again) is type(fitted)
    same(fitted, again, HORIZONS, DATA.table)


@pytest.mark.parametrize(
    "spec",
    [PrepareSpec(), PrepareSpec(transform="yeo-johnson", indicators=True), PrepareSpec(transform="none", impute=False)],
)
def test_a_preparation_taken_apart_and_put_together_is_the_same(spec):
    pipeline = preprocessor(spec)
    pipeline.learn(DATA.table)
    again = preprocess_parts.from_parts(*travelled(preprocess_parts.to_parts(pipeline)))
    other = examples(simulated(60, seed=4), TASKS["icans_any"], (72.0,)).table
    pd.testing.assert_frame_equal(pipeline.transform(other), again.transform(other))


def test_what_cannot_be_saved_says_so():
    fitted = Recalibrated(("grade.CRS.max",), score=lambda f: f.iloc[:, 0].to_numpy(float)).fit(
        DATA.table, DATA.outcome, HORIZONS
    )
    with pytest.raises(TypeError, match="function of the caller"):
        to_parts(fitted)
    with pytest.raises(TypeError, match="cannot be saved"):
        to_parts(object())


def test_parts_that_are_not_ours_are_refused():
    meta, arrays = to_parts(LastValueLogistic(**FEW).fit(DATA.table, DATA.outcome, HORIZONS))
    with pytest.raises(DataError, match="kind"):
        from_parts(meta | {"kind": "os.system"}, arrays)
    with pytest.raises(DataError, match="parts of one fitted model"):
        from_parts(meta, {name: value for name, value in arrays.items() if "coefficients" not in name})
    with pytest.raises(DataError, match="parts of one fitted model"):
        from_parts({"kind": "logistic"}, {})
    assert all(module.startswith("icans.") for module in KINDS.values())
