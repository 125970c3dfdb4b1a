"""Prints evaluation and training logs on a number of replicas, as JSON."""

import json
import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf

import tf_mtl


def main(num_replicas):
    cpu = tf.config.list_physical_devices("CPU")[0]
    logical = [tf.config.LogicalDeviceConfiguration()] * num_replicas
    tf.config.set_logical_device_configuration(cpu, logical)
    devices = [f"CPU:{i}" for i in range(num_replicas)]
    rng = np.random.default_rng(0)
    # The last batch has one row: replicas get different numbers of rows.
    inputs = rng.normal(size=(9, 3)).astype("float32")
    labels = {"a": (inputs[:, 0] + rng.normal(size=9) > 0).astype("float32")}
    labels["b"] = 1 - labels["a"]
    with tf.distribute.MirroredStrategy(devices).scope():
        keras.utils.set_random_seed(0)
        x = keras.Input((3,))
        hidden = keras.layers.Dense(4)(x)
        network = keras.Model(x, {n: keras.layers.Dense(1)(hidden) for n in "ab"})
        model = tf_mtl.MultiTask(network, [tf_mtl.Task("a"), tf_mtl.Task("b")])
        model.compile("sgd", "gradcraft", jit_compile=False)
    data = tf.data.Dataset.from_tensor_slices((inputs, labels))
    evaluated = model.evaluate(data.batch(8), verbose=0, return_dict=True)
    bad = inputs.copy()
    bad[0, 0] = np.inf
    data = tf.data.Dataset.from_tensor_slices((bad, labels))
    trained = model.fit(data.batch(4, drop_remainder=True), verbose=0).history
    print(json.dumps([evaluated, {k: float(v[0]) for k, v in trained.items()}]))


if __name__ == "__main__":
    main(int(sys.argv[1]))
