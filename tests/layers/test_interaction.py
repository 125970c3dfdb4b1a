"""FactorizationMachine and CompressedInteraction against sums over pairs."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_mtl.layers import CompressedInteraction, FactorizationMachine, Interaction

BATCH, FIELDS, WIDTH = 5, 4, 3
RNG = np.random.default_rng(0)
VECTORS = RNG.normal(size=(FIELDS, BATCH, WIDTH)).astype("float32")
LAYERS = {
    "fm": lambda **kwargs: FactorizationMachine(**kwargs),
    "fm_scalar": lambda **kwargs: FactorizationMachine(scalar=True, **kwargs),
    "cin": lambda **kwargs: CompressedInteraction((6, 4, 3), **kwargs),
    "cin_whole": lambda **kwargs: CompressedInteraction(
        (5, 3), split_half=False, activation="tanh", **kwargs
    ),
}
every_layer = pytest.mark.parametrize("form", LAYERS)


def vectors():
    return [tf.constant(vector) for vector in VECTORS]


def make_layer(form, **kwargs):
    """A layer with weights that are not those of the start."""
    layer = LAYERS[form](**kwargs)
    layer(vectors())
    for variable in layer.weights:
        variable.assign(RNG.normal(size=variable.shape))
    return layer


def pairwise(layer):
    """The factorization machine, pair by pair."""
    total = sum(v * w for v, w in itertools.combinations(VECTORS, 2))
    return total.sum(axis=1, keepdims=True) if layer.scalar else total


def compressed(layer):
    """The CIN: products of vectors, one row and one vector at a time."""
    outputs = []
    hidden = list(VECTORS)
    activation = {"relu": lambda x: np.maximum(x, 0), "tanh": np.tanh}
    activation = activation[layer.activation.__name__]
    for index, count in enumerate(layer.units):
        kernel, bias = layer.kernels[index].numpy(), layer.biases[index].numpy()
        products = [x * y for x in hidden for y in VECTORS]
        new = [
            activation(np.tensordot(kernel[:, n], products, 1) + bias[n])
            for n in range(count)
        ]
        is_split = layer.split_half and index < len(layer.units) - 1
        hidden, kept = (
            (new[: count // 2], new[count // 2 :]) if is_split else (new,) * 2
        )
        outputs += [vector.sum(axis=1) for vector in kept]
    return np.stack(outputs, axis=1)


def reference(layer):
    return (pairwise if isinstance(layer, FactorizationMachine) else compressed)(layer)


@every_layer
@pytest.mark.parametrize("jit_compile", [False, True])
def test_equals_the_slow_sum(form, jit_compile):
    layer = make_layer(form, concat=False)
    found = tf.function(layer, jit_compile=jit_compile)(vectors())
    np.testing.assert_allclose(found, reference(layer), rtol=1e-4, atol=1e-4)


@every_layer
def test_concat_joins_the_vectors(form):
    layer = make_layer(form)
    found = layer(vectors()).numpy()
    joined = np.concatenate(VECTORS, axis=1)
    np.testing.assert_array_equal(found[:, : FIELDS * WIDTH], joined)
    np.testing.assert_allclose(
        found[:, FIELDS * WIDTH :], reference(layer), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(
    ("layer", "width"),
    [
        (FactorizationMachine(concat=False), WIDTH),
        (FactorizationMachine(scalar=True, concat=False), 1),
        # Half of 64, and 32, as in the paper of GradCraft.
        (CompressedInteraction(concat=False), 64),
        (CompressedInteraction((5, 3), split_half=False, concat=False), 8),
    ],
)
@pytest.mark.parametrize("batch", [0, 1, 5])
def test_width_of_what_is_found(layer, width, batch):
    found = layer([vector[:batch] for vector in vectors()])
    assert found.shape == (batch, width)


def test_pairs_do_not_cancel_in_half_precision():
    # Two vectors, one of them small: in bfloat16 the squares would swallow it.
    layer = FactorizationMachine(concat=False, dtype="mixed_bfloat16")
    found = layer([tf.fill([1, 1], 16.0), tf.fill([1, 1], 2.0**-6)])
    assert found.dtype == tf.bfloat16
    np.testing.assert_allclose(tf.cast(found, tf.float32), [[0.25]], rtol=1e-2)


def test_layers_of_one_shape_start_apart():
    layer = CompressedInteraction((4, 4, 4), split_half=False)
    layer(vectors())
    _, second, third = (kernel.numpy() for kernel in layer.kernels)
    assert not np.isclose(second, third).any()


@every_layer
def test_round_trip(form, tmp_path):
    inputs = [keras.Input((WIDTH,)) for _ in range(FIELDS)]
    layer = make_layer(form, name="trunk")
    model = keras.Model(inputs, layer(inputs))
    model.save(tmp_path / "model.keras")
    revived = keras.saving.load_model(tmp_path / "model.keras")
    assert revived.get_layer("trunk").get_config() == layer.get_config()
    np.testing.assert_array_equal(revived(vectors()), model(vectors()))


@pytest.mark.parametrize("widths", [(3, 2), (3,)])
def test_vectors_must_be_two_or_more_of_one_width(widths):
    with pytest.raises(ValueError, match=rf"widths \[{widths[0]}"):
        FactorizationMachine()([tf.ones([2, width]) for width in widths])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"units": ()}, "one or more"),
        ({"units": (4, 0)}, "at least 1"),
        ({"units": (3, 2)}, "split_half=False"),
    ],
)
def test_units_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        CompressedInteraction(**arguments)


def test_an_interaction_of_your_own_is_one_method():
    class Maximum(Interaction):
        """The largest number at each place."""

        def interact(self, vectors):
            return tf.reduce_max(vectors, axis=1)

    found = Maximum(concat=False)(vectors())
    np.testing.assert_array_equal(found, VECTORS.max(axis=0))
