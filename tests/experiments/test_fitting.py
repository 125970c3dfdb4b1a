"""The model that a run trains."""

import dataclasses

import pytest

from tf_mtl.experiments.config import OPTIMIZERS
from tf_mtl.experiments.data import prepare
from tf_mtl.experiments.fitting import make_model


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_by_name(name, config):
    config = dataclasses.replace(
        config, optimizer=name, aggregator="ew", schedule="constant"
    )
    data = prepare(config)
    model = make_model(config, data)
    assert type(model.optimizer).__name__.lower() == name.replace("_", "")
    assert float(model.optimizer.learning_rate) == pytest.approx(0.01)


def test_first_task_alone_is_primary(config):
    assert [task.primary for task in prepare(config).tasks] == [True, False]
