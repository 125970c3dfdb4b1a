"""Chains of probabilities, ESMM among them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl
from tf_mtl import models
from tf_mtl.layers import StackedMLP
from tf_mtl.models.probability_chain import joint_logit

from . import problem

# A funnel, in another order than that in which it happens.
STEPS = [tf_mtl.Task(name) for name in ("pay", "click", "cart")]
PARENTS = {"pay": "cart", "cart": "click"}
# Around the largest float32 exponent, and far beyond.
EXTREMES = np.array([-1e30, -300, -104, -20, -1e-3, 0, 2, 20, 104, 300, 1e30])


def make_funnel(parents=PARENTS, tasks=STEPS, seed=0):
    keras.utils.set_random_seed(seed)
    model = models.SharedBottom(problem.FEATURES, tasks, (4,), (3,))
    return models.ProbabilityChain(model, parents)


def funnel_batch():
    inputs, labels = problem.make_batch()
    click, cart = labels["click"], labels["click"] * labels["like"]
    return inputs, {"click": click, "cart": cart, "pay": cart * (inputs["user"] > 4)}


def reference_logit(logits):
    """Of the product of probabilities: log p and log(1 - p) in float64."""
    log_p = -np.sum([np.logaddexp(0, -a) for a in np.float64(logits)], axis=0)
    # Rounds to 0 where p does to 1: there 1 - p is the sum of all 1 - p_i.
    log_not = np.where(
        log_p > -1e-8,
        np.logaddexp.reduce([-np.logaddexp(0, a) for a in np.float64(logits)]),
        np.log(-np.expm1(np.minimum(log_p, -1e-300))),
    )
    return log_p - log_not


@pytest.mark.parametrize("jit_compile", [False, True])
def test_logit_of_a_product_is_exact_in_float32(jit_compile):
    first, second = (a.ravel() for a in np.meshgrid(EXTREMES, EXTREMES))
    compiled = tf.function(joint_logit, jit_compile=jit_compile)
    found = compiled(tf.constant(first, tf.float32), tf.constant(second, tf.float32))
    np.testing.assert_allclose(
        found, reference_logit([first, second]), rtol=1e-6, atol=1e-6
    )


def test_gradient_of_the_logit_is_finite_and_known():
    first, second = (
        tf.constant(a.ravel(), tf.float32) for a in np.meshgrid(EXTREMES, EXTREMES)
    )
    with tf.GradientTape() as tape:
        tape.watch([first, second])
        logit = joint_logit(first, second)
    found = tape.gradient(logit, [first, second])
    assert all(np.isfinite(gradient).all() for gradient in found)
    # d logit / d a = (1 - sigmoid(a)) / (1 - p). At 300 the exponents of float32 are
    # good to 3e-5; at 1e30 the smaller logit is lost in the sum.
    usual = (np.abs(first) <= 300) & (np.abs(second) <= 300)
    for gradient, own, other in zip(
        found, (first, second), (second, first), strict=True
    ):
        a, b = np.float64(own)[usual], np.float64(other)[usual]
        not_a = -np.logaddexp(0, a)
        a_not_b = -np.logaddexp(0, -a) - np.logaddexp(0, b)
        expected = np.exp(not_a - np.logaddexp(not_a, a_not_b))
        np.testing.assert_allclose(
            gradient.numpy()[usual], expected, rtol=1e-4, atol=1e-6
        )


def test_output_is_the_product_of_probabilities_along_the_chain():
    model = make_funnel()
    inputs, _ = problem.as_tensors(funnel_batch())
    own = model.model.predictions(inputs)
    found = model.predictions(inputs)
    click = own["click"].numpy()
    cart = click * own["cart"]
    for name, expected in {
        "click": click,
        "cart": cart,
        "pay": cart * own["pay"],
        "cart_given_click": own["cart"],
        "pay_given_cart": own["pay"],
    }.items():
        np.testing.assert_allclose(found.pop(name), expected, rtol=1e-6)
    assert not found


def test_two_negative_logits_do_not_make_a_positive_one():
    logits = joint_logit(tf.constant([-2.0]), tf.constant([-3.0]))
    assert logits[0] < -5  # Their product is 6.


def test_long_chains_keep_their_digits():
    own = [tf.constant([value], tf.float32) for value in (120.0, 0.5, -200.0, 90.0)]
    tasks = [tf_mtl.Task(name) for name in "abcd"]
    model = make_funnel({"b": "a", "c": "b", "d": "c"}, tasks)
    found = model._chained(own)[-1]
    expected = reference_logit([o.numpy() for o in own])
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_order_of_tasks_does_not_matter():
    model, other = make_funnel(), make_funnel(tasks=STEPS[::-1])
    for source, target in zip(model.weights, other.weights, strict=True):
        value = source.numpy()
        target.assign(value[::-1] if "tower" in source.path else value)
    inputs, _ = problem.as_tensors(funnel_batch())
    expected = model.predictions(inputs)
    for name, found in other.predictions(inputs).items():
        np.testing.assert_allclose(found, expected[name], rtol=1e-6)


def test_loss_of_a_step_reaches_the_towers_of_all_steps_before_it():
    model = make_funnel()
    rows = problem.gradients_by_task(model, *problem.as_tensors(funnel_batch()))
    names = [task.name for task in STEPS]
    groups = model.variable_groups()
    assert {
        names[place]: set(tasks)
        for place, tasks in enumerate(groups[model.model.tower.dense[0].kernel.path])
    } == {"click": set(names), "cart": {"cart", "pay"}, "pay": {"pay"}}
    kernels = [
        row
        for row, v in zip(rows, model.trainable_variables, strict=True)
        if v.path == model.model.tower.dense[-1].kernel.path
    ]
    # By task and tower.
    reached = np.any(kernels[0] != 0, axis=(2, 3))
    np.testing.assert_array_equal(
        reached, [[True, True, True], [False, True, False], [False, True, True]]
    )


def test_loss_is_a_mean_so_that_larger_batches_take_no_larger_steps():
    inputs, labels = funnel_batch()
    twice = [{k: np.repeat(v, 2, 0) for k, v in d.items()} for d in (inputs, labels)]
    runs = []
    for data in ((inputs, labels), twice):
        model = make_funnel()
        model.compile("sgd", "gradcraft", run_eagerly=True)
        model.train_on_batch(*data)
        runs.append(model.get_weights())
    problem.assert_same(*runs)


def test_conditional_probability_learns_from_all_rows_what_clicked_rows_say():
    ids = [tf_mtl.features.IntegerRange("id", num_values=2, embedding_dim=4)]
    tasks = [tf_mtl.Task("click"), tf_mtl.Task("buy")]
    keras.utils.set_random_seed(0)
    model = models.ESMM(ids, tasks, tower_units=(8,))
    # Of 10 rows each: 5 and 8 clicks, of which 1 and 6 with a purchase.
    place = np.tile(np.arange(10), 2)
    item = np.repeat([0, 1], 10).astype("int32")
    labels = {
        "click": (place < np.where(item, 8, 5)).astype("float32"),
        "buy": (place < np.where(item, 6, 1)).astype("float32"),
    }
    model.compile(keras.optimizers.Adam(0.05), "ew", jit_compile=False)
    dataset = tf.data.Dataset.from_tensors(({"id": item}, labels)).repeat(300)
    model.fit(dataset, verbose=0)
    found = model.predict({"id": item[[0, -1]]}, verbose=0)
    np.testing.assert_allclose(found["click"], [0.5, 0.8], atol=0.01)
    np.testing.assert_allclose(found["buy"], [0.1, 0.6], atol=0.01)
    np.testing.assert_allclose(found["buy_given_click"], [0.2, 0.75], atol=0.02)


def test_export_serves_conditional_probabilities(tmp_path):
    network = models.SharedBottom(problem.FEATURES[:1], STEPS, (4,), (3,))
    model = models.ProbabilityChain(network, PARENTS)
    folder = tf_mtl.export.save(model, tmp_path / "funnel")
    serve = tf.saved_model.load(folder).signatures["serving_default"]
    raw = {"user": tf.constant([3, 8], tf.int64)}
    found = serve(**raw)
    expected = model.predictions(model.features(raw))
    assert set(found) == set(expected)
    for name, value in found.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-6)


def test_saved_chain_is_loaded_with_its_model(tmp_path):
    model = make_funnel()
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    inputs, _ = problem.as_tensors(funnel_batch())
    expected = model.predictions(inputs)
    for name, found in loaded.predictions(inputs).items():
        np.testing.assert_array_equal(found, expected[name])
    assert loaded.parents == PARENTS
    assert type(loaded.model) is models.SharedBottom


def test_esmm_shares_the_embeddings_and_nothing_else():
    model = problem.make_model("esmm")
    parts = {v.path.split("/")[1] for v in model.trainable_variables}
    assert parts == {"embedding", "tower"}


def test_esmm_is_two_plain_networks_on_shared_embeddings():
    model = models.ESMM(problem.FEATURES, STEPS[:2], tower_units=(4, 3))
    inputs, _ = problem.as_tensors(funnel_batch())
    embedded = model.model.embed(inputs, training=False)
    logits = []
    for task in range(2):
        hidden = embedded.numpy()
        for layer in model.model.tower.dense:
            hidden = hidden @ layer.kernel.numpy()[task] + layer.bias.numpy()[task]
            if layer is not model.model.tower.dense[-1]:
                hidden = np.maximum(hidden, 0)
        logits.append(hidden[:, 0])
    found = model(inputs)
    np.testing.assert_allclose(found["pay"], logits[0], rtol=1e-5)
    both = reference_logit(logits)
    np.testing.assert_allclose(found["click"], both, rtol=1e-4, atol=1e-6)
    assert model.parents == {"click": "pay"}


def test_towers_differ_at_the_start_and_have_the_spread_of_a_dense_layer():
    ids = [tf_mtl.features.IntegerRange("id", num_values=9, embedding_dim=200)]
    model = models.ESMM(ids, STEPS[:2], tower_units=(300,))
    kernel = model.model.tower.dense[0].kernel.numpy()
    assert isinstance(model.model.tower, StackedMLP)
    assert not np.array_equal(kernel[0], kernel[1])
    spread = np.sqrt(2.0 / (200 + 300))
    np.testing.assert_allclose(kernel.std(axis=(1, 2)), spread, rtol=0.05)


@pytest.mark.parametrize("rows", [1, 16])
def test_serving_is_deterministic(rows):
    keras.utils.set_random_seed(0)
    model = models.ESMM(problem.FEATURES, STEPS, tower_units=(4,), dropout=0.5)
    inputs, _ = problem.as_tensors(problem.make_batch(rows))
    first, second = model.predictions(inputs), model.predictions(inputs)
    for name, value in first.items():
        assert value.shape == (rows,)
        np.testing.assert_array_equal(value, second[name])


@pytest.mark.parametrize(
    ("parents", "message"),
    [
        ({"pay": "cart", "cart": "pay"}, "cycle in \\['cart', 'pay'\\]"),
        ({"pay": "pay"}, "cycle"),
        ({"pay": "view"}, "Received: \\['view'\\]. Known tasks"),
        ({"view": "pay"}, "Received: \\['view'\\]. Known tasks"),
    ],
)
def test_bad_chains_are_refused(parents, message):
    with pytest.raises(ValueError, match=message):
        make_funnel(parents)


@pytest.mark.parametrize("parents", [{"dwell": "click"}, {"click": "dwell"}])
def test_a_regression_has_no_probability(parents):
    with pytest.raises(ValueError, match="binary tasks.*\\['dwell'\\]"):
        make_funnel(parents, problem.TASKS)


def test_esmm_chains_its_binary_tasks():
    names = ("click", "dwell", "cart", "buy")
    tasks = [
        tf_mtl.Task(name, kind="regression" if name == "dwell" else "binary")
        for name in names
    ]
    model = models.ESMM(problem.FEATURES, tasks, tower_units=(3,))
    assert model.parents == {"cart": "click", "buy": "cart"}
    with pytest.raises(ValueError, match="binary tasks.*'dwell'"):
        models.ESMM(problem.FEATURES, tasks, parents={"dwell": "click"})


def test_output_that_takes_the_name_of_a_task_is_refused():
    tasks = [tf_mtl.Task(n) for n in ("click", "buy", "buy_given_click")]
    with pytest.raises(ValueError, match="Received: \\['buy_given_click'\\]"):
        make_funnel({"buy": "click"}, tasks)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("single_task", "must share variables"),
        ("stem", "must have embeddings that its tasks share"),
        ("drgrad", "must not route"),
        ("aitm", "towers meet already"),
        ("esmm", "towers meet already"),
        ("meta_heac", "towers meet already"),
    ],
)
def test_models_without_common_towers_are_refused(name, message):
    with pytest.raises(ValueError, match=message):
        models.ProbabilityChain(problem.make_model(name), {"like": "click"})


def test_a_network_of_ones_own_is_refused():
    with pytest.raises(TypeError, match="Received: MultiTask"):
        models.ProbabilityChain(problem.make_model("multi_task"), {"like": "click"})
