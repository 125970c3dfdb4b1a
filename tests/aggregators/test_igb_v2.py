import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.aggregators.test_golden import of_method
from tests.models import problem
from tf_mtl import aggregators
from tf_mtl.aggregators import IGBv2

SMALL = {
    "learn_every": 2,
    "num_updates": 3,
    "batch_size": 4,
    "capacity": 5,
    "seed": 3,
}
LOSSES = np.random.default_rng(0).uniform(0.2, 2.0, size=(12, 3))


def variable(aggregator, name):
    [found] = [v for v in aggregator.variables if v.name == name]
    return found


def transitions(aggregator):
    """Rows of the replay buffer: states, actions, rewards, next states."""
    count = min(int(variable(aggregator, "replay_count")), aggregator.capacity)
    rows = variable(aggregator, "replay_rows").numpy()[:count]
    size = aggregator.num_tasks
    return np.split(rows, [size, 2 * size, 2 * size + 1], axis=1)


def state_of(aggregator):
    return [v.numpy() for v in aggregator.variables]


def acting(**kwargs):
    """An aggregator whose agent acts and learns, with base losses of 1."""
    epochs = {"base_epoch": 0, "random_epochs": 1, "learn_epoch": 1}
    aggregator = IGBv2(**(SMALL | epochs | kwargs))
    aggregator.weights(np.ones(3, "float32"))
    aggregator.end_epoch()
    return aggregator


def test_weights_of_drawn_logits_match_hand_computation():
    aggregator = IGBv2(**SMALL)
    aggregator._normals = lambda num_tasks: tf.constant([0.0, np.log(3.0)], tf.float64)
    weights = aggregator.weights(tf.constant([0.5, 2.0], tf.float64))
    # 2 * softmax(u) is 1/2 and 3/2.
    np.testing.assert_allclose(weights, [0.5 / 0.5, 1.5 / 2.0])


@pytest.mark.parametrize("sequence", of_method("sequences", "igb_v2"))
def test_transitions_match_golden_values(sequence):
    aggregator = IGBv2(base_epoch=0, learn_epoch=100)
    base = np.array(sequence["params"]["base_losses"])
    aggregator.weights(tf.constant(base))
    aggregator.end_epoch()
    for step in sequence["steps"]:
        aggregator.weights(tf.constant(step["losses"], tf.float64))
    states, actions, rewards, next_states = transitions(aggregator)
    # The first transition of the file starts from a made-up state of zeros.
    steps = sequence["steps"][1:]
    assert len(states) == len(steps)
    for i, step in enumerate(steps):
        found = [states[i] * base, next_states[i] * base, rewards[i, 0]]
        names = ("state", "next_state", "reward")
        for value, name in zip(found, names, strict=True):
            np.testing.assert_allclose(
                value, step[f"expected_{name}"], rtol=sequence["tol32"]
            )
    np.testing.assert_allclose(actions.sum(1), 3.0, rtol=1e-6)


def test_stored_action_is_the_one_that_the_state_was_met_with():
    aggregator = acting(learn_epoch=100)
    weights = [aggregator.weights(losses).numpy() * losses for losses in LOSSES[:3]]
    _, actions, _, _ = transitions(aggregator)
    np.testing.assert_allclose(actions, weights[:2], rtol=1e-6)


def test_weights_are_plain_while_there_is_nothing_to_act_on():
    aggregator = IGBv2(random_epochs=0, **SMALL)
    weights = aggregator.weights(LOSSES[0])
    np.testing.assert_allclose(weights, 1.0 / LOSSES[0])
    assert int(variable(aggregator, "replay_count")) == 0


def test_agent_acts_after_the_random_epochs():
    first, second = acting(seed=1), acting(seed=1)
    second._normals = lambda num_tasks: tf.ones([num_tasks], tf.float64)
    drawn = [a.weights(LOSSES[0]).numpy() * LOSSES[0] for a in (first, second)]
    # A normal of 1 in each entry would give equal weights.
    assert not np.allclose(drawn[1], 1.0)
    np.testing.assert_allclose(np.sum(drawn, axis=1), 3.0, rtol=1e-6)


def test_absent_task_does_not_count_in_the_reward():
    aggregator = acting(learn_epoch=100)
    present = [True, False, True]
    aggregator.weights([1.0, 1.0, 1.0])
    weights = aggregator.weights([0.5, np.nan, 0.75], present)
    aggregator.weights([0.5, 3.0, 0.5])
    states, _, rewards, next_states = transitions(aggregator)
    np.testing.assert_allclose(rewards[:, 0], [0.25, -2.0])
    np.testing.assert_allclose(next_states[0], [0.5, 1.0, 0.75])
    np.testing.assert_allclose(states[1], [0.5, 1.0, 0.75])
    assert weights[1] == 0.0
    np.testing.assert_allclose(weights[0] * 0.5 + weights[2] * 0.75, 2.0, rtol=1e-6)


def test_task_without_base_loss_is_not_compared():
    aggregator = IGBv2(base_epoch=0, **SMALL)
    present = [True, True, False]
    for losses in ([1.0, 1.0, 1.0], [1.0, 1.0, 1.0]):
        aggregator.weights(losses, present)
    aggregator.end_epoch()
    aggregator.weights([1.0, 1.0, 1.0])
    aggregator.weights([0.5, 0.75, 9.0])
    _, _, rewards, _ = transitions(aggregator)
    np.testing.assert_allclose(rewards[:, 0], [0.25])


def test_buffer_keeps_the_last_transitions():
    aggregator = acting(learn_epoch=100)
    for losses in LOSSES:
        aggregator.weights(losses)
    states, _, rewards, next_states = transitions(aggregator)
    assert len(states) == 5
    expected = LOSSES[:-1][-5:]
    order = np.argsort(states[:, 0]), np.argsort(expected[:, 0])
    np.testing.assert_allclose(states[order[0]], expected[order[1]], rtol=1e-6)
    np.testing.assert_allclose(rewards[:, 0], (states - next_states).min(1), atol=1e-6)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_agent_learns_at_every_second_step(jit_compile):
    aggregator = acting()
    step = tf.function(aggregator.weights, jit_compile=jit_compile)
    updates = []
    for losses in LOSSES[:6]:
        step(tf.constant(losses))
        updates.append(float(variable(aggregator, "agent_updates")))
    # Step 1 was in the epoch of the base losses, step 2 had no transition yet.
    assert updates == [0.0, 0.0, 3.0, 3.0, 6.0, 6.0]
    assert step.experimental_get_tracing_count() == 1
    assert aggregator.fallback_count.numpy() == 0


def test_eager_graph_and_xla_learn_the_same():
    found = []
    for jit_compile in (None, False, True):
        # One update: a second would start where Adam went by the sign of gradients,
        # some of which are nothing but rounding.
        aggregator = acting(learn_every=1, num_updates=1)
        step = aggregator.weights
        if jit_compile is not None:
            step = tf.function(step, jit_compile=jit_compile)
        # What is drawn depends on the mode.
        aggregator._normals = lambda num_tasks: tf.range(num_tasks, dtype=tf.float64)
        aggregator._batches = lambda seed, own=aggregator: (
            tf.repeat(own._replay.sample((1, 1), seed), 4, axis=1),
            tf.reshape(tf.linspace(-1.0, 1.0, 24), [1, 2, 4, 3]),
        )
        weights = [step(tf.constant(losses)) for losses in LOSSES[:2]]
        assert float(variable(aggregator, "agent_updates")) == 1.0
        # Parameters, copies of the critics, first and second moments.
        parts = np.split(
            variable(aggregator, "agent"), np.cumsum(aggregator._agent._sizes)[:-1]
        )
        found.append((weights, parts[2]))
    for weights, moment in found[1:]:
        np.testing.assert_allclose(weights, found[0][0], rtol=1e-2)
        np.testing.assert_allclose(moment, found[0][1], rtol=1e-3, atol=1e-5)


def test_losses_that_are_not_finite_leave_no_trace():
    found = []
    for losses in (LOSSES, np.insert(LOSSES, [3, 8, 8], np.nan, axis=0)):
        aggregator = acting(learn_every=2)
        weights = np.stack([aggregator.weights(each) for each in losses])
        found.append((weights[np.isfinite(weights[:, 0])], state_of(aggregator)))
    assert float(variable(aggregator, "agent_updates")) > 0.0
    assert len(found[1][0]) == len(LOSSES)
    for plain, spoilt in zip(*[state for _, state in found], strict=True):
        np.testing.assert_array_equal(plain, spoilt)


def test_updates_that_are_not_finite_are_not_made():
    aggregator = acting(learn_every=1)
    for losses in LOSSES[:2]:
        aggregator.weights(losses)
    before = variable(aggregator, "agent").numpy()
    aggregator._batches = lambda seed: (
        tf.fill([1, 4, 10], np.float32(np.inf)),
        tf.zeros([1, 2, 4, 3]),
    )
    aggregator.weights(LOSSES[2])
    np.testing.assert_array_equal(variable(aggregator, "agent"), before)


def test_step_is_not_compiled_anew():
    # XLA compiles a slice for each place that it is taken at.
    step = tf.function(acting().weights, jit_compile=False)
    graph = step.get_concrete_function(tf.constant(LOSSES[0])).graph
    slices = [op for op in graph.get_operations() if op.type == "StridedSlice"]
    assert slices
    assert {op.inputs[1].op.type for op in slices} == {"Const"}


def test_interrupted_run_continues():
    aggregator = acting()
    for losses in LOSSES[:5]:
        aggregator.weights(losses)
    resumed = aggregators.get(keras.saving.serialize_keras_object(aggregator))
    resumed.build(3)
    for own, value in zip(resumed.variables, state_of(aggregator), strict=True):
        own.assign(value)
    for losses in LOSSES[5:]:
        np.testing.assert_array_equal(
            resumed.weights(losses), aggregator.weights(losses)
        )
    for actual, expected in zip(state_of(resumed), state_of(aggregator), strict=True):
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize(
    "mode", [{"run_eagerly": True}, {"jit_compile": True}], ids=str
)
def test_agent_learns_in_fit(mode):
    model = problem.make_model("shared_bottom")
    aggregator = IGBv2(base_epoch=0, random_epochs=1, learn_epoch=1, **SMALL)
    model.compile(problem.make_sgd(), aggregator, **mode)
    logs = model.fit(problem.make_dataset(3), epochs=3, verbose=0).history
    assert float(variable(aggregator, "agent_updates")) > 0.0
    assert np.isfinite(logs["loss"]).all()
    assert aggregator.fallback_count.numpy() == 0


def test_skipped_step_teaches_nothing():
    aggregator = acting()
    for losses in LOSSES[:4]:
        aggregator.weights(losses)
    before = state_of(aggregator)
    assert np.isnan(aggregator.weights([0.5, np.inf, 1.0])).all()
    for actual, expected in zip(state_of(aggregator), before, strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_negative_loss_takes_the_mean():
    aggregator = acting()
    weights = aggregator.weights([1.0, -1.0, 1.0])
    np.testing.assert_allclose(weights, 1.0 / 3.0, rtol=1e-6)
    assert aggregator.fallback_count.numpy() == 1


@pytest.mark.parametrize(
    "name", ["learn_every", "num_updates", "batch_size", "capacity"]
)
def test_bad_count_is_refused(name):
    with pytest.raises(ValueError, match=f"`{name}` must be an int, at least 1"):
        IGBv2(**{name: 0})


@pytest.mark.parametrize("name", ["base_epoch", "random_epochs", "learn_epoch"])
def test_bad_epoch_is_refused(name):
    with pytest.raises(ValueError, match=f"`{name}` must be an int, at least 0"):
        IGBv2(**{name: -1})
