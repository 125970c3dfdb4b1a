import numpy as np
import tensorflow as tf

from tf_mtl.aggregators import EqualWeighting
from tf_mtl.aggregators.replay_buffer import ReplayBuffer
from tf_mtl.aggregators.soft_actor_critic import SoftActorCritic

SIZE, BATCH, HIDDEN = 2, 5, 128


def make(seed=0):
    """The agent hangs its state on any aggregator."""
    return SoftActorCritic(EqualWeighting(), SIZE, seed)


def make_batch(seed=0):
    rng = np.random.default_rng(seed)
    transitions = rng.normal(size=(BATCH, 3 * SIZE + 1))
    return transitions, rng.normal(size=(2, BATCH, SIZE))


def parts(agent, vector):
    """Parameters, copies of the critics, first and second moments."""
    return np.split(np.asarray(vector), np.cumsum(agent._sizes)[:-1])


class Reference:
    """The three losses in NumPy, each in the parameters of its own."""

    def __init__(self, vector, copies):
        self.copies = self.read(copies, self.shapes(2 * SIZE, 1, (2,)))
        critics = len(copies)
        self.parts = {
            "critics": np.arange(critics),
            "actor": np.arange(critics, len(vector) - 1),
            "temperature": np.array([len(vector) - 1]),
        }
        self.fixed = vector

    def shapes(self, inputs, outputs, copies=()):
        sizes = [inputs, HIDDEN, HIDDEN, outputs]
        pairs = zip(sizes, sizes[1:], strict=False)
        return [(*copies, *s) for a, b in pairs for s in ((a, b), (1, b))]

    def read(self, vector, shapes):
        ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
        pieces = np.split(vector, ends[:-1])
        return [p.reshape(s) for p, s in zip(pieces, shapes, strict=True)]

    def critics(self, vector):
        return self.read(vector[self.parts["critics"]], self.shapes(2 * SIZE, 1, (2,)))

    def output(self, network, x):
        for layer in range(3):
            x = x @ network[2 * layer] + network[2 * layer + 1]
            x = np.maximum(x, 0) if layer < 2 else x
        return x

    def draw(self, vector, states, noise):
        actor = self.read(vector[self.parts["actor"]], self.shapes(SIZE, 2 * SIZE))
        mean, log_std = np.split(self.output(actor, states), 2, axis=1)
        log_std = np.clip(log_std, -20, 2)
        u = mean + np.exp(log_std) * noise
        normal = np.exp(-(noise**2) / 2) / (np.sqrt(2 * np.pi) * np.exp(log_std))
        action = SIZE * np.exp(u) / np.exp(u).sum(1, keepdims=True)
        return action, np.log(normal).sum(1, keepdims=True)

    def least(self, critics, states, actions):
        return self.output(critics, np.concatenate([states, actions], 1)).min(0)

    def loss(self, name, vector, transitions, noise):
        states, actions, rewards, next_states = np.split(
            transitions, [SIZE, 2 * SIZE, 2 * SIZE + 1], axis=1
        )
        temperature = np.exp(self.fixed[-1])
        if name == "critics":
            action, density = self.draw(self.fixed, next_states, noise[0])
            future = self.least(self.copies, next_states, action)
            goal = rewards + 0.99 * (future - temperature * density)
            seen = np.concatenate([states, actions], 1)
            errors = self.output(self.critics(vector), seen) - goal
            return (errors[0] ** 2).mean() + (errors[1] ** 2).mean()
        if name == "actor":
            action, density = self.draw(vector, states, noise[1])
            value = self.least(self.critics(self.fixed), states, action)
            return (temperature * density - value).mean()
        _, density = self.draw(self.fixed, states, noise[1])
        return -(vector[-1] * (density - SIZE)).mean()


def test_gradient_matches_numpy():
    agent = make()
    rng = np.random.default_rng(1)
    # The copies differ from the critics, so that a mix-up would show.
    vector, copies, *moments = parts(agent, agent.state[0])
    copies = copies + 0.1 * rng.normal(size=copies.shape).astype("float32")
    agent.state[0].assign(np.concatenate([vector, copies, *moments]))
    vector, copies = (part.astype("float64") for part in (vector, copies))
    reference = Reference(vector, copies)
    transitions, noise = make_batch()
    batch = [tf.constant(x[None], tf.float32) for x in (transitions, noise)]
    _, _, first_moment, _ = parts(agent, agent.learned(*batch)[0])
    gradient = first_moment / (1 - 0.9)
    for name, places in reference.parts.items():
        for _ in range(3):
            way = np.zeros_like(vector)
            way[places] = rng.normal(size=len(places))
            slope = sum(
                sign
                * reference.loss(name, vector + sign * 1e-6 * way, transitions, noise)
                for sign in (1, -1)
            ) / (2 * 1e-6)
            # A float32 gradient against a difference quotient.
            np.testing.assert_allclose(gradient @ way, slope, rtol=1e-3, atol=1e-3)


def test_update_moves_parameters_by_adam_and_copies_slowly():
    agent = make()
    before = [v.numpy() for v in agent.state]
    batch = [tf.constant(x[None], tf.float32) for x in make_batch()]
    learned, count = agent.learned(*batch)
    old_parameters, old_copies, *_ = parts(agent, before[0])
    parameters, copies, first, second = parts(agent, learned)
    gradient = first / (1 - 0.9)
    np.testing.assert_allclose(second, 0.001 * gradient**2, rtol=1e-3)
    step = 3e-4 * gradient / (np.abs(gradient) + 1e-8)
    np.testing.assert_allclose(parameters, old_parameters - step, rtol=1e-3, atol=1e-6)
    critics = parameters[: len(copies)]
    np.testing.assert_allclose(
        copies, old_copies + 0.005 * (critics - old_copies), rtol=1e-5, atol=1e-7
    )
    assert float(count) == 1.0
    for variable, value in zip(agent.state, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_agent_finds_the_action_that_is_rewarded():
    agent, rng = make(), np.random.default_rng(0)
    actions = SIZE * rng.dirichlet(np.ones(SIZE), size=500)
    states = np.ones((500, SIZE))
    transitions = np.concatenate([states, actions, actions[:, :1], states], axis=1)
    learned = tf.function(agent.learned, jit_compile=True)

    def mean_action():
        noise = tf.constant(rng.normal(size=(200, SIZE)), tf.float32)
        logits = [agent.logits(tf.ones([SIZE]), each) for each in noise]
        return SIZE * tf.reduce_mean(tf.nn.softmax(logits), axis=0).numpy()

    first = mean_action()
    for _ in range(20):
        batches = transitions[rng.integers(0, 500, size=(50, 64))]
        noise = rng.normal(size=(50, 2, 64, SIZE))
        values = learned(*(tf.constant(x, tf.float32) for x in (batches, noise)))
        for variable, value in zip(agent.state, values, strict=True):
            variable.assign(value)
    assert abs(first[0] - 1.0) < 0.3
    assert mean_action()[0] > 1.8


def test_seed_decides_the_first_parameters():
    first, same, other = (make(seed).state[0].numpy() for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


def test_samples_come_from_the_rows_that_were_added():
    buffer = ReplayBuffer(EqualWeighting(), capacity=4, width=1)
    for i in range(3):
        buffer.add(tf.constant([float(i + 1)]), tf.constant(i != 1))
    assert int(buffer.size) == 2
    found = buffer.sample((7, 9), tf.constant([0, 1])).numpy()
    assert found.shape == (7, 9, 1)
    assert set(found.ravel()) == {1.0, 3.0}
