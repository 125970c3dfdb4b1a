"""A tiny ranking problem, and the models that the tests train on it."""

import dataclasses
import functools

import keras
import numpy as np
import tensorflow as tf

import tf_mtl
from tf_mtl import aggregators, features, models

ROWS = 16
WIDTHS = (8, 4)

FEATURES = (
    features.IntegerRange("user", num_values=9, embedding_dim=3),
    features.IntegerRange(
        "item", num_values=5, embedding_dim=2, table="items", missing_value=-1
    ),
    # A second feature on the table of `item`: lists with padding and weights.
    features.IntegerRange(
        "history",
        num_values=5,
        embedding_dim=2,
        table="items",
        missing_value=-1,
        max_length=4,
        weights="history_weight",
    ),
    features.Numeric("price", normalization=None, default=0.0),
)

TASKS = (
    tf_mtl.Task("click"),
    tf_mtl.Task("like", missing_label=-1.0),
    tf_mtl.Task("dwell", kind="regression", weight=0.5),
)


def make_batch(rows=ROWS, seed=0):
    """Model inputs with many repeated ids, and labels of all tasks."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 5, size=(rows, 1))
    listed = np.arange(4) < lengths
    inputs = {
        "user": rng.integers(0, 11, rows).astype("int32"),
        "item": rng.integers(0, 7, rows).astype("int32"),
        "history": np.where(listed, rng.integers(1, 7, (rows, 4)), 0).astype("int32"),
        "history_weights": np.where(listed, rng.uniform(0.5, 2, (rows, 4)), 0).astype(
            "float32"
        ),
        "price": rng.normal(size=(rows, 1)).astype("float32"),
    }
    labels = {
        "click": rng.integers(0, 2, rows).astype("float32"),
        "like": rng.integers(0, 2, rows).astype("float32"),
        "dwell": rng.normal(size=rows).astype("float32"),
    }
    return inputs, labels


def as_tensors(data):
    return tf.nest.map_structure(tf.constant, data)


def make_dataset(steps=3, seed=0, rows=ROWS):
    """`steps` batches in a fixed order."""
    data = make_batch(rows * steps, seed)
    return tf.data.Dataset.from_tensor_slices(data).batch(rows, drop_remainder=True)


def make_network(seed=0, dropout=0.0, tasks=TASKS):
    """A functional model that looks its tables up the usual way."""
    keras.utils.set_random_seed(seed)
    inputs = {
        name: tensor
        for feature in FEATURES
        for name, tensor in feature.inputs().items()
    }
    users = keras.layers.Embedding(11, 3, name="users")
    items = keras.layers.Embedding(7, 2, name="items")
    weighted = items(inputs["history"]) * inputs["history_weights"][..., None]
    parts = [
        users(inputs["user"]),
        items(inputs["item"]),
        keras.ops.sum(weighted, axis=1),
        inputs["price"],
    ]
    hidden = keras.layers.Concatenate()(parts)
    hidden = keras.layers.Dense(8, "relu", name="bottom")(hidden)
    hidden = keras.layers.Dropout(dropout)(hidden)
    hidden = keras.layers.Dense(4, "relu", name="representation")(hidden)
    outputs = {}
    for task in tasks:
        tower = keras.layers.Dense(3, "relu", name=f"{task.name}_hidden")(hidden)
        outputs[task.name] = keras.layers.Dense(1, name=task.name)(tower)
    return keras.Model(inputs, outputs)


def _multi_task(tasks, dropout=0.0, **kwargs):
    network = make_network(dropout=dropout, tasks=tasks)
    return models.MultiTask(network, tasks, representation="representation", **kwargs)


def _omoe(tasks, **kwargs):
    return _mmoe(tasks, single_gate=True, **kwargs)


def _mmoe(tasks, features=FEATURES, cls=models.MMoE, **kwargs):
    return cls(
        features, tasks, num_experts=3, expert_units=WIDTHS, tower_units=(3,), **kwargs
    )


def _ac_mmoe(tasks, **kwargs):
    return _mmoe(tasks, cls=models.ACMMoE, num_heads=2, filters=2, **kwargs)


def _extraction(cls, **own):
    def make(tasks, features=FEATURES, **kwargs):
        widths = {"expert_units": WIDTHS, "tower_units": (3,)}
        return cls(features, tasks, **widths, **own, **kwargs)

    return make


def _shared_bottom(tasks, features=FEATURES, **kwargs):
    return models.SharedBottom(
        features, tasks, bottom_units=WIDTHS, tower_units=(3,), **kwargs
    )


def _aitm(tasks, features=FEATURES, calibrator_weight=0.0, **kwargs):
    # The calibrator is no task's loss, and has tests of its own.
    return models.AITM(
        features,
        tasks,
        bottom_units=WIDTHS,
        calibrator_weight=calibrator_weight,
        **kwargs,
    )


def _esmm(tasks, features=FEATURES, **kwargs):
    return models.ESMM(
        features, tasks, parents=_first_link(tasks), tower_units=(4, 3), **kwargs
    )


def _chain(tasks, **kwargs):
    return models.ProbabilityChain(_mmoe(tasks, **kwargs), _first_link(tasks))


def _meta_heac(tasks, features=FEATURES, **kwargs):
    return models.MetaHeac(
        features,
        tasks,
        num_experts=3,
        num_critics=2,
        expert_units=WIDTHS,
        tower_units=(3,),
        gate_units=4,
        task_embedding_dim=3,
        **kwargs,
    )


def _first_link(tasks):
    """The second task has the first for its parent."""
    names = [task.name for task in tasks]
    return dict(zip(names[1:2], names, strict=False))


def _single_task(tasks, features=FEATURES, **kwargs):
    return models.SingleTask(features, tasks, units=WIDTHS, **kwargs)


def _personal(features):
    """Of the features, `user` is personal."""
    return [dataclasses.replace(f, personal=f.name == "user") for f in features]


def _pepnet(cls):
    def make(tasks, features=FEATURES, **kwargs):
        widths = {"tower_units": WIDTHS, "gate_units": 3}
        return cls(_personal(features), tasks, **widths, **kwargs)

    return make


def _split(cls, **own):
    """The first task is primary; the second too, where there are three."""

    def make(tasks, features=FEATURES, **kwargs):
        tasks = [
            dataclasses.replace(task, primary=i == 0 or (i == 1 and len(tasks) > 2))
            for i, task in enumerate(tasks)
        ]
        return cls(
            _personal(features),
            tasks,
            num_experts=3,
            expert_units=WIDTHS,
            tower_units=(3,),
            **own,
            **kwargs,
        )

    return make


def _snr(cls):
    """Without noise and its temperature, so that training is like serving."""

    def make(tasks, features=FEATURES, **kwargs):
        model = cls(
            features,
            tasks,
            num_sub_networks=2,
            sub_network_units=WIDTHS,
            tower_units=(3,),
            gate={"beta": 1.0, "l0_weight": 0.0},
            **kwargs,
        )
        for routing in model.routing:
            shape = routing.gate.shape
            routing.gate.draw = functools.partial(tf.zeros, shape)
        return model

    return make


def _cross_stitch(tasks, features=FEATURES, **kwargs):
    return models.CrossStitch(
        features, tasks, stitched_units=WIDTHS, tower_units=(3,), **kwargs
    )


ARCHITECTURES = {
    "ac_mmoe": _ac_mmoe,
    "aitm": _aitm,
    "cgc": _extraction(models.CGC, num_shared_experts=2),
    "chain": _chain,
    "cross_stitch": _cross_stitch,
    "drgrad": _split(models.DRGrad),
    "esmm": _esmm,
    "meta_heac": _meta_heac,
    "mmoe": _mmoe,
    "multi_task": _multi_task,
    "omoe": _omoe,
    "pepnet": _pepnet(models.PEPNet),
    "ple": _extraction(models.PLE),
    "ppnet": _pepnet(models.PPNet),
    "shared_bottom": _shared_bottom,
    "single_task": _single_task,
    "snr_aver": _snr(models.SNRAver),
    "snr_trans": _snr(models.SNR),
    "stem": _extraction(models.STEM, num_shared_experts=2),
    "split_mmoe": _split(models.SplitMMoE, num_dedicated_experts=2),
}
SHARING = sorted(set(ARCHITECTURES) - {"single_task"})


def make_model(name, tasks=TASKS, seed=0, **kwargs):
    """A model of that architecture; equal seeds give equal weights."""
    keras.utils.set_random_seed(seed)
    return ARCHITECTURES[name](tasks, **kwargs)


def make_aggregator(name):
    """An aggregator that draws no random numbers."""
    arguments = {
        "famo": {"second_pass_every": 2},
        "fixed": {"weights": [0.5 + 0.5 * i for i in range(len(TASKS))]},
        "igb_v2": {"seed": 0},
        "gradvac": {"order": "natural"},
        "pcgrad": {"order": "natural"},
        "pcgrad_plus": {"order": "natural"},
        "rgw": {"seed": 0},
        "rlw": {"seed": 0},
    }
    aggregator = aggregators.get(name, **arguments.get(name, {}))
    if name in ("igb_v2", "rgw", "rlw"):
        aggregator._normals = lambda num_tasks: tf.range(num_tasks, dtype=tf.float64)
    if name == "graddrop":
        aggregator._uniforms = lambda block: tf.fill(
            tf.shape(block)[1:], tf.constant(0.4, block.dtype)
        )
    return aggregator


def make_sgd():
    return keras.optimizers.SGD(0.1, momentum=0.9)


def gradients_by_task(model, inputs, labels):
    """Slow reference: a tape for each task, tables densified.

    Returns:
        for each trainable variable, an array `(num_tasks, *shape)`.
    """
    targets = tf_mtl.tasks.read_targets(model.tasks, labels)
    variables = model.trainable_variables
    rows = []
    for t in range(len(model.tasks)):
        with tf.GradientTape() as tape:
            outputs = model.task_outputs(inputs, training=False)
            loss = model._task_losses(outputs, targets)[t]
        found = tape.gradient(loss, [v.value for v in variables])
        rows.append([dense(g, v) for g, v in zip(found, variables, strict=True)])
    return [np.stack(column) for column in zip(*rows, strict=True)]


def variable_groups(model):
    """`variable_groups` of any model."""
    if isinstance(model, models.MultiTask):
        return model.variable_groups(as_tensors(make_batch()[0]))
    return model.variable_groups()


def is_shared(model):
    """For each trainable variable, which entries several tasks reach: bool arrays."""
    groups = variable_groups(model)
    masks = []
    for variable in model.trainable_variables:
        shared = np.array([len(tasks) > 1 for tasks in groups[variable.path]])
        mask = shared[0]
        if shared.any() and not shared.all():  # A stack: slices of the first axis.
            mask = shared.reshape(-1, *[1] * (len(variable.shape) - 1))
        masks.append(np.broadcast_to(mask, variable.shape))
    return masks


def dense(gradient, variable):
    """A gradient as an array; zeros for none."""
    if gradient is None:
        return np.zeros(variable.shape, "float32")
    return tf.convert_to_tensor(gradient).numpy()


def flat_gramian(rows):
    """Gramian of the flattened Jacobian, float64."""
    flat = np.concatenate([r.reshape(len(r), -1) for r in rows], 1).astype("float64")
    return flat @ flat.T


def assert_same(actual, expected, rtol=1e-5, atol=1e-6):
    """Compares two lists of arrays or of variables."""
    assert len(actual) == len(expected)
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(a),
            keras.ops.convert_to_numpy(e),
            rtol=rtol,
            atol=atol,
        )


def is_different(actual, expected):
    return any(not np.array_equal(a, e) for a, e in zip(actual, expected, strict=True))
