"""Methods that see rows, in `fit`: state by variable is saved and resumed."""

import keras
import numpy as np
import pytest

from tests.models import problem
from tf_mtl import aggregators

DATASET = problem.make_dataset(3)

OPTIONS = {"graddrop": {"seed": 0}, "moco": {"normalize_rows": True}}


def make(name):
    model = problem.make_model("mmoe")
    aggregator = aggregators.get(name, **OPTIONS.get(name, {}))
    model.compile(problem.make_sgd(), aggregator, jit_compile=False)
    return model


@pytest.mark.parametrize("name", aggregators.names("rows"))
def test_resumed_run_is_that_of_an_uninterrupted_one(name, tmp_path):
    model = make(name)
    first = model.fit(DATASET, verbose=0).history
    model.save(tmp_path / "model.keras")
    resumed = keras.models.load_model(tmp_path / "model.keras")
    second = model.fit(DATASET, verbose=0).history
    resumed.fit(DATASET, verbose=0)
    problem.assert_same(resumed.trainable_variables, model.trainable_variables)
    problem.assert_same(resumed.aggregator.variables, model.aggregator.variables)
    assert np.isfinite([*first["loss"], *second["loss"]]).all()
    assert second["skipped_updates"] == [0.0]
    assert model.aggregator.fallback_count.numpy() == 0
