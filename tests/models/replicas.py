"""One training run on one device or on two replicas; run in a process of its own.

Arguments: output file, then the number of replicas. Writes the weights and logs after
4 steps of each case to the file.
"""

import sys

import numpy as np
import tensorflow as tf

from tf_mtl import optimizers

from . import problem

# name: architecture, aggregator, surface, whether one replica lacks all labels.
CASES = {
    "ew": ("mmoe", "ew", "parameters", False),
    "second_pass": ("mmoe", "famo", "parameters", False),
    "rows": ("mmoe", "gradcraft", "parameters", False),
    "rows_of_a_network": ("multi_task", "pcgrad", "parameters", False),
    "representation_of_a_network": ("multi_task", "gradcraft", "representation", False),
    "absent": ("shared_bottom", "gradcraft", "parameters", True),
    "absent_representation": ("mmoe", "gradcraft", "representation", True),
    "ada_task": ("mmoe", "ew", "parameters", True),
    "penalty": ("mmoe", "ew", "parameters", False),
    "penalty_of_rows": ("mmoe", "gradcraft", "parameters", False),
    "penalty_on_the_representation": ("mmoe", "gradcraft", "representation", False),
    "penalty_of_outputs": ("aitm", "gradcraft", "parameters", False),
    "penalty_of_weights": ("mmoe", "gradcraft", "parameters", False),
    "routed_inputs": ("drgrad", "ew", "parameters", True),
    "routed_variables": ("drgrad", "gradcraft", "parameters", False),
}
# Losses of layers: read after replicas met, they would be those of another replica.
PRICE = {"entropy_weight": 0.5, "num_selectors": 1}
ARGUMENTS = {
    "penalty": {"gate": PRICE},
    "penalty_of_rows": {"gate": PRICE},
    "penalty_on_the_representation": {"gate": PRICE},
    "penalty_of_outputs": {"calibrator_weight": 0.6},
    "penalty_of_weights": {"embedding_l2": 0.5, "kernel_l2": 0.5},
    "routed_inputs": {"level": "tower_input"},
    "routed_variables": {"level": "both"},
}
OPTIMIZERS = {"ada_task": lambda: optimizers.AdaTask(0.01)}
STEPS = 4


def dataset(absent):
    inputs, labels = problem.make_batch(problem.ROWS * STEPS)
    if absent:
        # The first half of each batch goes to the first replica.
        rows = np.arange(len(labels["like"])) % problem.ROWS < problem.ROWS // 2
        labels["like"][rows] = np.nan
    data = tf.data.Dataset.from_tensor_slices((inputs, labels))
    return data.batch(problem.ROWS, drop_remainder=True)


def run(name, strategy):
    architecture, aggregator, surface, absent = CASES[name]
    optimizer = OPTIMIZERS.get(name, problem.make_sgd)
    with strategy.scope():
        model = problem.make_model(architecture, **ARGUMENTS.get(name, {}))
        model.compile(
            optimizer(),
            problem.make_aggregator(aggregator),
            surface,
            jit_compile=False,
        )
    history = model.fit(dataset(absent), verbose=0)
    state = [w.numpy() for w in model.weights]
    return state, {k: v[-1] for k, v in history.history.items()}


def main(path, num_replicas):
    cpu = tf.config.list_physical_devices("CPU")[0]
    logical = [tf.config.LogicalDeviceConfiguration()] * num_replicas
    tf.config.set_logical_device_configuration(cpu, logical)
    if num_replicas == 1:
        strategy = tf.distribute.get_strategy()
    else:
        devices = [f"CPU:{i}" for i in range(num_replicas)]
        strategy = tf.distribute.MirroredStrategy(devices)
    found = {}
    for name in CASES:
        weights, logs = run(name, strategy)
        found |= {f"{name}/weights/{i:02d}": w for i, w in enumerate(weights)}
        found |= {f"{name}/logs/{key}": value for key, value in logs.items()}
    np.savez(path, **found)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
