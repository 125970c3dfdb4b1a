"""`model.summary()` says what shape comes out of every layer, for any batch."""

import re

import pytest

from tf_mtl import features, layers, models

from .problem import TASKS, make_model


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")


def rows_of(model):
    """Rows of the table: what a layer is called, and the shapes that it gives."""
    printed = []
    model.summary(line_length=400, print_fn=printed.append)
    lines = "".join(printed).splitlines()
    cells = [line.split("│") for line in lines if line.startswith("│")]
    return [(row[1].strip(), row[2].strip()) for row in cells]


def assert_readable(model):
    rows = rows_of(model)
    assert [name for name, _ in rows] == [
        f"{layer.name} ({type(layer).__name__})" for layer in model.layers
    ]
    for name, shapes in rows:
        if "ExpectationCalibrator" in name:
            assert shapes == "()"  # A loss.
            continue
        found = re.findall(r"\(([^()]+)\)", shapes)
        # One axis of each shape is of any length: the batch.
        assert found, f"{name}: {shapes}"
        for shape in found:
            assert shape.split(", ").count("None") == 1, f"{name}: {shapes}"


@pytest.mark.parametrize("name", models.names())
def test_summary_of_an_architecture(name):
    assert_readable(make_model(name))


@pytest.mark.parametrize("pooling", layers.names("pooling"))
@pytest.mark.parametrize("trunk", layers.names("trunk"))
def test_summary_of_trunk_and_pooling(trunk, pooling):
    items = {"num_values": 4, "embedding_dim": 4, "table": "items", "missing_value": -1}
    specs = [
        features.IntegerRange("item", **items),
        features.IntegerRange("seen", **items, max_length=3, combiner=None),
        features.IntegerRange("user", 4, embedding_dim=4),
        features.Numeric("price", normalization=None, default=0.0),
    ]
    pooling = {"seen": {pooling: {"query": "item"}}}
    model = models.MMoE(specs, TASKS, trunk=trunk, pooling=pooling)
    assert_readable(model)
    shapes = dict(rows_of(model))
    # The sequence comes later, pooled.
    assert shapes["embedding (FeatureEmbedding)"] == "(None, 9)"
    width = model.embed(model.example_inputs(), training=False).shape[-1]
    if isinstance(model.trunk, layers.Interaction):
        width -= 1  # The number passes it by.
    trunk = f"{model.trunk.name} ({type(model.trunk).__name__})"
    assert shapes[trunk] == f"(None, {width})"


def test_copies_of_an_embedding_are_an_axis_of_their_own():
    model = make_model("single_task")
    assert rows_of(model)[1] == ("embedding (FeatureEmbedding)", "(3, None, 8)")
