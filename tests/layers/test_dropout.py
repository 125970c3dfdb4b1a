"""Dropout against its definition."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_mtl.layers import Dropout


@pytest.mark.parametrize("jit_compile", [False, True])
def test_share_is_dropped_and_mean_is_kept(jit_compile):
    layer = Dropout(0.25, seed=1)
    call = tf.function(lambda x: layer(x, training=True), jit_compile=jit_compile)
    dropped = call(tf.ones([200, 200])).numpy()
    # 40,000 draws: the standard deviation of the share is 0.002.
    assert np.mean(dropped == 0) == pytest.approx(0.25, abs=0.01)
    assert set(np.unique(dropped)) == {np.float32(0), np.float32(1 / 0.75)}


def test_each_call_draws_anew_and_a_seed_repeats_them():
    draws = [
        [layer(tf.ones([64]), training=True).numpy() for _ in range(2)]
        for layer in (Dropout(0.5, seed=3), Dropout(0.5, seed=3))
    ]
    assert (draws[0][0] != draws[0][1]).any()
    np.testing.assert_array_equal(draws[0], draws[1])


def test_serving_is_the_identity():
    x = tf.random.normal([8])
    np.testing.assert_array_equal(Dropout(0.5)(x, training=False), x)


def test_round_trip():
    layer = Dropout(0.5, seed=3)
    config = keras.saving.serialize_keras_object(layer)
    revived = keras.saving.deserialize_keras_object(config)
    assert revived.get_config() == layer.get_config()


def test_rate_is_checked():
    with pytest.raises(ValueError, match="rate=1"):
        Dropout(1)
