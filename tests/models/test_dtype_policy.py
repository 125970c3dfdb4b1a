"""The policy of a model is that of its parts, wherever it is loaded."""

import keras
import numpy as np
import pytest

from tf_mtl import features, layers, models

from . import problem

FEATURES = (
    features.IntegerRange("user", num_values=9, embedding_dim=2),
    features.IntegerRange(
        "item", num_values=5, embedding_dim=2, table="items", missing_value=-1
    ),
    features.IntegerRange(
        "history",
        num_values=5,
        embedding_dim=2,
        table="items",
        missing_value=-1,
        max_length=4,
        combiner=None,
    ),
    features.Numeric("price", normalization=None, default=0.0),
)


@pytest.fixture
def bfloat16():
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy("float32")


def test_a_model_of_mixed_precision_is_loaded_as_one(bfloat16, tmp_path):
    model = models.MMoE(
        FEATURES,
        problem.TASKS,
        num_experts=3,
        expert_units=(4,),
        tower_units=(3,),
        trunk=layers.FactorizationMachine(),
        pooling={"history": layers.TargetAttention(query="item")},
    )
    model.compile("adam", "gradcraft", jit_compile=False)
    inputs, labels = problem.make_batch()
    inputs = {name: inputs[name] for name in ("user", "item", "history", "price")}
    model.fit(inputs, labels, batch_size=8, verbose=0)
    expected = model.predict(inputs, verbose=0)
    model.save(tmp_path / "model.keras")
    keras.config.set_dtype_policy("float32")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.tower.compute_dtype == "bfloat16"
    for name, values in loaded.predict(inputs, verbose=0).items():
        np.testing.assert_array_equal(values, expected[name])


@pytest.mark.parametrize("name", models.names())
def test_parts_take_the_policy_of_their_model(name):
    model = problem.make_model(name, dtype="mixed_bfloat16")
    parts = [part for part in model._flatten_layers() if part.trainable_variables]
    assert len(parts) > 2
    assert {part.dtype_policy.name for part in parts} == {"mixed_bfloat16"}
