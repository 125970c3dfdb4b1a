"""Trunks and pooling layers by name."""

import keras
import pytest

from tf_mtl import layers


def test_names_by_role():
    assert layers.names("trunk") == [
        "compressed_interaction",
        "cross_network",
        "factorization_machine",
    ]
    assert layers.names("pooling") == ["target_attention"]


@pytest.mark.parametrize(
    "identifier",
    [
        {"cross_network": {"num_layers": 3}},
        layers.CrossNetwork(3),
        keras.saving.serialize_keras_object(layers.CrossNetwork(3)),
    ],
    ids=["arguments", "layer", "config"],
)
def test_get(identifier):
    layer = layers.get("trunk", identifier)
    assert isinstance(layer, layers.CrossNetwork)
    assert layer.num_layers == 3


def test_a_name_alone_takes_the_defaults():
    assert layers.get("trunk", "cross_network").num_layers == 2


def test_any_keras_layer_is_returned_as_it_is():
    dense = keras.layers.Dense(2)
    assert layers.get("trunk", dense) is dense


@pytest.mark.parametrize(
    ("identifier", "error", "message"),
    [
        ("cross_netwrk", ValueError, "Did you mean 'cross_network'"),
        ("target_attention", ValueError, "`trunk` must be one of"),
        ({"cross_network": {"layers": 3}}, ValueError, "layers"),
        ({"cross_network": 3}, TypeError, "a dict of a name and its arguments"),
        ({"cross_network": {}, "dense": {}}, TypeError, "Received: trunk="),
        (3, TypeError, "`trunk` must be a Keras layer"),
    ],
)
def test_get_refuses(identifier, error, message):
    with pytest.raises(error, match=message):
        layers.get("trunk", identifier)


def test_a_name_is_given_once():
    with pytest.raises(ValueError, match="taken by CrossNetwork"):
        layers.register("trunk", "cross_network")(keras.layers.Layer)
