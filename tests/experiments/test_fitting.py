"""The model that a run trains."""

import dataclasses
import json

import pytest

from tf_mtl.experiments.config import OPTIMIZERS
from tf_mtl.experiments.data import prepare
from tf_mtl.experiments.fitting import make_model
from tf_mtl.experiments.variants import parse_variants


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


def test_arguments_of_all_architectures_reach_the_model(config):
    arguments = {**config.model_args, "activation": "gelu", "embedding_l2": 0.001}
    config = dataclasses.replace(config, model_args=arguments)
    model = make_model(config, prepare(config))
    assert model.activation.__name__ == "gelu"
    assert model.embedding.l2 == 0.001


def test_the_gate_of_drgrad_takes_arguments_of_its_own(config):
    gate = {"hidden_units": 4, "stop_gradient": True}
    (variant,) = parse_variants(
        f"gate=drgrad:personal_gate={json.dumps(gate)}",
        dataclasses.replace(config, model_args={}),
    ).values()
    data = prepare(config)
    personal = [
        dataclasses.replace(feature, personal=feature.name == "item")
        for feature in data.preprocessor.features
    ]
    data.preprocessor.features = tuple(personal)
    model = make_model(variant, data)
    assert model.personal_gate.get_config().items() >= gate.items()
