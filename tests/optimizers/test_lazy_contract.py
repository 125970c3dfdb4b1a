"""What every lazy optimizer keeps to, whatever its rule."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_mtl.gradients import UniqueSlices, unique_slices
from tf_mtl.optimizers import LazyAdagrad, LazyAdam, LazySGD

VOCABULARY = 11
DIM = 3
# Ids 3 and 7 repeat; 0 and the last row are looked up, 1, 2, 4, 6, 8, 9 are not.
IDS = [7, 3, 0, 7, 10, 3, 5]
LOOKED_UP = sorted(set(IDS))
ABSENT = sorted(set(range(VOCABULARY)) - set(IDS))

OPTIMIZERS = {
    "adagrad": (LazyAdagrad, keras.optimizers.Adagrad, {}),
    "adam": (LazyAdam, keras.optimizers.Adam, {}),
    "amsgrad": (LazyAdam, keras.optimizers.Adam, {"amsgrad": True}),
    "sgd": (LazySGD, keras.optimizers.SGD, {}),
    "momentum": (LazySGD, keras.optimizers.SGD, {"momentum": 0.9}),
    "nesterov": (LazySGD, keras.optimizers.SGD, {"momentum": 0.9, "nesterov": True}),
}
every_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)


def make(key, learning_rate=0.1, **kwargs):
    lazy, _, arguments = OPTIMIZERS[key]
    return lazy(learning_rate=learning_rate, **arguments, **kwargs)


def make_dense(key, learning_rate=0.1, **kwargs):
    _, dense, arguments = OPTIMIZERS[key]
    return dense(learning_rate=learning_rate, **arguments, **kwargs)


def make_table(dtype="float32"):
    rows = np.random.default_rng(0).normal(size=(VOCABULARY, DIM))
    return keras.Variable(rows, dtype=dtype, name="table")


def slices(seed=1, dtype="float32", ids=IDS):
    values = np.random.default_rng(seed).normal(size=(len(ids), DIM))
    return tf.IndexedSlices(
        tf.constant(values, dtype),
        tf.constant(ids, tf.int32),
        tf.constant([VOCABULARY, DIM]),
    )


def state(optimizer, *variables):
    return [v.numpy() for v in (*variables, *optimizer.variables)]


def assert_same(actual, expected, rtol=1e-6, atol=1e-6):
    assert len(actual) == len(expected)
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=rtol, atol=atol)


@every_optimizer
def test_dense_gradient_takes_the_keras_rule(name):
    variables = make_table(), make_table()
    lazy, dense = make(name), make_dense(name)
    for seed in range(20):
        gradient = tf.convert_to_tensor(slices(seed))
        lazy.apply([gradient], [variables[0]])
        dense.apply([gradient], [variables[1]])
    assert_same(state(lazy, variables[0]), state(dense, variables[1]))


@every_optimizer
def test_table_with_all_rows_looked_up_takes_the_keras_rule(name):
    variables = make_table(), make_table()
    arguments = {"weight_decay": 0.01}
    lazy, dense = make(name, **arguments), make_dense(name, **arguments)
    for seed in range(20):
        gradient = slices(seed, ids=[*range(VOCABULARY), 4, 4])
        lazy.apply([gradient], [variables[0]])
        dense.apply([tf.convert_to_tensor(gradient)], [variables[1]])
    # Decay and step are added in one scatter: one rounding less than in Keras.
    assert_same(state(lazy, variables[0]), state(dense, variables[1]), rtol=1e-5)


@every_optimizer
def test_absent_rows_and_their_slots_do_not_move(name):
    table, optimizer = make_table(), make(name, weight_decay=0.1)
    # Gives every row momentum, which the dense rule would go on to apply.
    optimizer.apply([slices(ids=range(VOCABULARY))], [table])
    before = state(optimizer, table)
    for seed in range(3):
        optimizer.apply([slices(seed)], [table])
    for old, new in zip(before, state(optimizer, table), strict=True):
        if new.shape == (VOCABULARY, DIM):
            np.testing.assert_array_equal(new[ABSENT], old[ABSENT])
            assert (new[LOOKED_UP] != old[LOOKED_UP]).all()


@every_optimizer
def test_padding_touches_nothing(name):
    tables, optimizers = (make_table(), make_table()), (make(name), make(name))
    rows = tf.constant([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    bare = UniqueSlices(rows, tf.constant([2, 5]), None)
    padded = UniqueSlices(
        tf.concat([rows, tf.zeros([3, DIM])], 0), tf.constant([2, 5, 5, 5, 5]), None
    )
    for _ in range(3):
        optimizers[0].apply([bare], [tables[0]])
        optimizers[1].apply([padded], [tables[1]])
    for a, b in zip(*map(state, optimizers, tables), strict=True):
        np.testing.assert_array_equal(a, b)


@every_optimizer
def test_repeated_ids_are_summed_first(name):
    tables, optimizers = (make_table(), make_table()), (make(name), make(name))
    optimizers[0].apply([slices()], [tables[0]])
    optimizers[1].apply([unique_slices(slices())], [tables[1]])
    assert_same(*map(state, optimizers, tables))


@every_optimizer
def test_empty_batch_moves_nothing(name):
    table, optimizer = make_table(), make(name)
    optimizer.build([table])
    before = table.numpy()
    optimizer.apply([slices(ids=[])], [table])
    np.testing.assert_array_equal(table.numpy(), before)


@every_optimizer
def test_tables_of_other_rank(name):
    flat = make_table()
    bias = keras.Variable(flat.numpy()[:, 0])
    cube = keras.Variable(flat.numpy()[:, :, None])
    gradient = slices()
    make(name).apply([gradient], [flat])
    first = tf.IndexedSlices(gradient.values[:, 0], gradient.indices)
    last = tf.IndexedSlices(gradient.values[:, :, None], gradient.indices)
    make(name).apply([first, last], [bias, cube])
    np.testing.assert_allclose(bias.numpy(), flat.numpy()[:, 0], rtol=1e-6)
    np.testing.assert_allclose(cube.numpy()[:, :, 0], flat.numpy(), rtol=1e-6)


@every_optimizer
def test_eager_graph_and_xla_agree_and_do_not_retrace(name):
    def run(wrap):
        table, kernel = make_table(), keras.Variable(np.ones((DIM, 2), "float32"))
        optimizer = make(name, weight_decay=0.01, global_clipnorm=1.0)
        optimizer.build([table, kernel])

        @wrap
        def step(values, ids):
            sparse = tf.IndexedSlices(values, ids, [VOCABULARY, DIM])
            optimizer.apply([sparse, values[:DIM, :2]], [table, kernel])

        for seed in range(4):
            step(slices(seed).values, slices(seed).indices)
        if wrap is not eager:
            assert step.experimental_get_tracing_count() == 1
        return state(optimizer, table, kernel)

    def eager(function):
        return function

    expected = run(eager)
    assert_same(run(tf.function), expected)
    assert_same(run(tf.function(jit_compile=True)), expected)


@every_optimizer
def test_schedule_reads_the_global_step(name):
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)
    tables = make_table(), make_table()
    scheduled, constant = make(name, learning_rate=schedule), make(name)
    for step in range(3):
        constant.learning_rate = schedule(step)
        scheduled.apply([slices()], [tables[0]])
        constant.apply([slices()], [tables[1]])
    np.testing.assert_allclose(tables[0].numpy(), tables[1].numpy(), rtol=1e-6)


@pytest.mark.parametrize("clip", ["clipnorm", "clipvalue", "global_clipnorm"])
def test_clipping_equals_clipping_of_the_dense_gradient(clip):
    def run(optimizer, gradient):
        table, kernel = make_table(), keras.Variable([[1.0, 1.0]])
        optimizer.apply([gradient, tf.constant([[3.0, -2.0]])], [table, kernel])
        return [table.numpy(), kernel.numpy()]

    options = {clip: 0.7}
    lazy = run(make("sgd", **options), slices())
    dense = run(make_dense("sgd", **options), tf.convert_to_tensor(slices()))
    assert_same(lazy, dense)


@every_optimizer
def test_weight_decay_shrinks_looked_up_rows_only(name):
    tables = make_table(), make_table()
    start = tables[0].numpy()
    make(name).apply([slices()], [tables[0]])
    make(name, weight_decay=0.5).apply([slices()], [tables[1]])
    decay = tables[0].numpy() - tables[1].numpy()
    np.testing.assert_allclose(
        decay[LOOKED_UP], 0.1 * 0.5 * start[LOOKED_UP], rtol=1e-5, atol=1e-6
    )
    np.testing.assert_array_equal(decay[ABSENT], 0.0)


def test_weight_decay_respects_exclusion():
    tables = make_table(), make_table()
    excluded = make("adam", weight_decay=0.5)
    excluded.exclude_from_weight_decay(var_names=["table"])
    excluded.apply([slices()], [tables[0]])
    make("adam").apply([slices()], [tables[1]])
    np.testing.assert_array_equal(tables[0].numpy(), tables[1].numpy())


@every_optimizer
def test_loss_scale_is_divided_out(name):
    tables = [make_table() for _ in range(3)]
    plain = slices()
    scaled = tf.IndexedSlices(plain.values * 8.0, plain.indices, plain.dense_shape)
    make(name).apply([plain], [tables[0]])
    make(name, loss_scale_factor=8.0).apply([scaled], [tables[1]])
    wrapped = keras.optimizers.LossScaleOptimizer(make(name), initial_scale=8.0)
    wrapped.apply([scaled], [tables[2]])
    for table in tables[1:]:
        np.testing.assert_allclose(table.numpy(), tables[0].numpy(), rtol=1e-6)


def test_clipping_takes_tables_and_kernels_of_different_dtype():
    table, kernel = make_table("bfloat16"), keras.Variable([[1.0, 1.0]])
    gradients = [slices(dtype="bfloat16"), tf.constant([[3.0, -2.0]])]
    make("sgd", global_clipnorm=0.5).apply(gradients, [table, kernel])
    change = np.linalg.norm(kernel.numpy() - 1.0)
    assert 0.0 < change < 0.1 * 0.5


# Half an ulp for each of three changes: 2 ** -8 of bfloat16, 2 ** -11 of float16.
@pytest.mark.parametrize(("dtype", "rtol"), [("bfloat16", 2e-2), ("float16", 3e-3)])
@every_optimizer
def test_low_precision_table_follows_float32(name, dtype, rtol):
    tables, optimizers = (make_table(dtype), make_table()), (make(name), make(name))
    for seed in range(3):
        optimizers[0].apply([slices(seed, dtype)], [tables[0]])
        optimizers[1].apply([slices(seed)], [tables[1]])
    assert tables[0].dtype == dtype
    np.testing.assert_allclose(
        tables[0].numpy().astype("float32"), tables[1].numpy(), rtol=rtol, atol=rtol
    )


def embedding_model(optimizer, jit_compile, dtype=None):
    keras.utils.set_random_seed(3)
    ids = keras.Input((4,), dtype="int32")
    rows = keras.layers.Embedding(80, 5, dtype=dtype)(ids)
    hidden = keras.layers.Flatten()(rows)
    model = keras.Model(ids, keras.layers.Dense(1, dtype="float32")(hidden))
    model.compile(optimizer, loss="mse", jit_compile=jit_compile)
    return model


def batches():
    # No id twice in a batch of 16: Keras' own Adagrad squares repeated rows one by
    # one, which is not its dense rule. Rows 72 to 79 are never seen.
    rng = np.random.default_rng(0)
    ids = [rng.permutation(72)[:64].reshape(16, 4) for _ in range(4)]
    return np.concatenate(ids).astype("int32"), rng.normal(size=(64, 1))


def fit(model):
    model.fit(*batches(), batch_size=16, epochs=1, shuffle=False, verbose=0)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("name", ["adagrad", "sgd"])
def test_fit_equals_keras_where_the_rules_are_equal(name, jit_compile):
    models = [
        embedding_model(optimizer, jit_compile)
        for optimizer in (make(name), make_dense(name))
    ]
    for model in models:
        fit(model)
    assert_same(*[model.get_weights() for model in models])


@pytest.mark.parametrize("jit_compile", [False, True])
def test_fit_under_mixed_precision(jit_compile):
    model = embedding_model(make("adam"), jit_compile, dtype="mixed_float16")
    before = model.get_weights()[0]
    model.compile(keras.optimizers.LossScaleOptimizer(make("adam")), loss="mse")
    fit(model)
    after = model.get_weights()[0]
    assert after.dtype == "float32"
    assert np.isfinite(after).all()
    looked_up = np.unique(batches()[0])
    absent = np.setdiff1d(np.arange(80), looked_up)
    assert (after[looked_up] != before[looked_up]).any(axis=1).all()
    np.testing.assert_array_equal(after[absent], before[absent])


@pytest.mark.parametrize("name", ["adagrad", "amsgrad", "nesterov"])
def test_saved_and_loaded_model_continues_with_the_same_numbers(name, tmp_path):
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 5, 0.5)
    model = embedding_model(make(name, learning_rate=schedule), jit_compile=True)
    fit(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded.optimizer) is type(model.optimizer)
    fit(model)
    fit(loaded)
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(model.optimizer.variables, loaded.optimizer.variables, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


@every_optimizer
def test_config_round_trip(name):
    optimizer = make(name, weight_decay=0.1, clipnorm=2.0, name="mine")
    config = keras.saving.serialize_keras_object(optimizer)
    assert config["registered_name"] == f"tf_mtl>{type(optimizer).__name__}"
    copy = keras.saving.deserialize_keras_object(config)
    assert copy.get_config() == optimizer.get_config()


@every_optimizer
@pytest.mark.parametrize(
    ("argument", "value"), [("use_ema", True), ("gradient_accumulation_steps", 2)]
)
def test_options_that_rewrite_tables_are_refused(name, argument, value):
    with pytest.raises(ValueError, match=f"`{argument}` is not supported"):
        make(name, **{argument: value})


def test_constraint_of_a_table_is_refused_and_of_a_dense_variable_applied():
    layer = keras.layers.Embedding(VOCABULARY, DIM, embeddings_constraint="non_neg")
    layer.build()
    table = layer.embeddings
    with pytest.raises(ValueError, match="`constraint` of a looked-up table"):
        make("sgd").apply([slices()], [table])
    make("sgd").apply([tf.convert_to_tensor(slices())], [table])
    assert (table.numpy() >= 0.0).all()


def test_unknown_argument_is_refused():
    with pytest.raises(ValueError, match="not recognized"):
        LazyAdam(bete_1=0.9)
