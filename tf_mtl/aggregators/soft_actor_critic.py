"""A soft actor-critic agent that lives in the state of an aggregator."""

import math

import numpy as np
import tensorflow as tf

from tf_mtl.aggregators.base import Aggregator
from tf_mtl.gradients import all_finite

_HIDDEN = 128
_LEARNING_RATE = 3e-4
_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8
_DISCOUNT = 0.99
_TARGET_RATE = 0.005
_FIRST_TEMPERATURE = 0.2
_LOG_STD_RANGE = (-20.0, 2.0)

# Kernels and biases of the layers of a network, in turn.
Network = list[tf.Tensor]


class SoftActorCritic:
    """Learns which logits, as a function of the state, lead to high rewards.

    The actor draws logits `u` from a normal distribution, whose mean and logarithm of
    the standard deviation a network computes from the state. The action is
    `size * softmax(u)`. Two critics value state and action, and of each there is a
    copy that follows slowly. The weight of the entropy of `u`, the temperature, is
    learned such that this entropy is `-size`. All networks have two hidden layers of
    128 ReLU units.

    Args:
        owner: aggregator whose state it joins; made in its hook `_build`.
        size: int, length of a state and of an action.
        seed: int, seed of the first parameters.

    Reference:
        Haarnoja et al., Soft Actor-Critic Algorithms and Applications, 2018,
        arXiv:1812.05905. Differs: the action is squashed by a softmax, not by tanh,
        and its entropy is that of `u`, since a softmax has no density to correct for;
        critics, actor and temperature move at once, by one Adam on the sum of their
        losses, and not one after the other.
    """

    def __init__(self, owner: Aggregator, size: int, seed: int) -> None:
        self._size = size
        # The critics come first: that is where their copies have them.
        self._critic_shapes = _shapes(2 * size, 1, copies=(2,))
        self._shapes = [*self._critic_shapes, *_shapes(size, 2 * size), ()]
        parameters = _first_values(self._shapes, np.random.default_rng(seed))
        copies = parameters[: sum(map(math.prod, self._critic_shapes))]
        moments = np.zeros_like(parameters)
        first = np.concatenate([parameters, copies, moments, moments])
        # Parameters, copies of the critics, first and second moments; one variable,
        # since each costs time in every step.
        self._sizes = [len(parameters), len(copies), len(parameters), len(parameters)]
        agent = owner.add_variable(
            "agent", first.shape, "float32", lambda shape, dtype: first, put_back=False
        )
        #: All that updates change.
        self.state = [agent, owner.add_variable("agent_updates", put_back=False)]

    def logits(self, state: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """Logits of the action in a state.

        Args:
            state: float32 tensor of shape `(size,)`.
            noise: float32 tensor of shape `(size,)`, standard normals.

        Returns:
            float32 tensor of shape `(size,)`.
        """
        parameters = self.state[0].value[: self._sizes[0]]
        _, actor, _ = self._parts(parameters)
        logits, _ = _drawn(actor, state[None], noise[None])
        return logits[0]

    def learned(self, transitions: tf.Tensor, noise: tf.Tensor) -> list[tf.Tensor]:
        """Makes updates, without assigning them.

        Args:
            transitions: float32 tensor of shape `(updates, batch, 3 * size + 1)`, rows
                of state, action, reward and next state.
            noise: float32 tensor of shape `(updates, 2, batch, size)`, standard
                normals.

        Returns:
            The new values of `state`; the old ones if the new are not finite.
        """
        agent, count = (variable.value for variable in self.state)
        *parts, new_count = tf.foldl(
            lambda state, inputs: self._updated(*state, *inputs),
            (transitions, noise),
            initializer=[*tf.split(agent, self._sizes), count],
        )
        learned = tf.concat(parts, axis=0)
        is_ok = all_finite([learned])
        return [tf.where(is_ok, learned, agent), tf.where(is_ok, new_count, count)]

    def _updated(
        self,
        parameters: tf.Tensor,
        copies: tf.Tensor,
        first: tf.Tensor,
        second: tf.Tensor,
        count: tf.Tensor,
        transitions: tf.Tensor,
        noise: tf.Tensor,
    ) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(parameters)
            loss = self._loss(parameters, copies, transitions, noise)
        gradient = tape.gradient(loss, parameters)
        first = _BETA_1 * first + (1.0 - _BETA_1) * gradient
        second = _BETA_2 * second + (1.0 - _BETA_2) * tf.square(gradient)
        count += 1.0
        correction_1, correction_2 = (
            tf.cast(1.0 - beta**count, tf.float32) for beta in (_BETA_1, _BETA_2)
        )
        root = tf.sqrt(second / correction_2) + _EPSILON
        parameters -= _LEARNING_RATE * first / correction_1 / root
        copies += _TARGET_RATE * (parameters[: copies.shape[0]] - copies)
        return [parameters, copies, first, second, count]

    def _loss(
        self,
        parameters: tf.Tensor,
        copies: tf.Tensor,
        transitions: tf.Tensor,
        noise: tf.Tensor,
    ) -> tf.Tensor:
        """Sum of the losses of critics, actor and temperature, a scalar.

        Each of them sees the parameters of the others as constants.
        """
        critics, actor, log_temperature = self._parts(parameters)
        temperature = tf.stop_gradient(tf.exp(log_temperature))
        sizes = [self._size, self._size, 1, self._size]
        states, actions, rewards, next_states = tf.split(transitions, sizes, axis=1)

        logits, density = _drawn(actor, next_states, noise[0])
        critic_copies = _unpacked(copies, self._critic_shapes)
        future = self._least_value(critic_copies, next_states, logits)
        goal = tf.stop_gradient(rewards + _DISCOUNT * (future - temperature * density))
        values = _output(critics, tf.concat([states, actions], axis=1))
        critic_loss = tf.reduce_sum(tf.reduce_mean(tf.square(values - goal), axis=1))

        logits, density = _drawn(actor, states, noise[1])
        constant = [tf.stop_gradient(part) for part in critics]
        value = self._least_value(constant, states, logits)
        actor_loss = tf.reduce_mean(temperature * density - value)

        # Entropy above the goal of -size.
        excess = self._size - tf.stop_gradient(tf.reduce_mean(density))
        return critic_loss + actor_loss + log_temperature * excess

    def _least_value(
        self, critics: Network, states: tf.Tensor, logits: tf.Tensor
    ) -> tf.Tensor:
        """The lower value of the two critics, `(batch, 1)`."""
        actions = self._size * tf.nn.softmax(logits)
        values = _output(critics, tf.concat([states, actions], axis=1))
        return tf.reduce_min(values, axis=0)

    def _parts(self, parameters: tf.Tensor) -> tuple[Network, Network, tf.Tensor]:
        """Critics, actor, and logarithm of the temperature."""
        *networks, log_temperature = _unpacked(parameters, self._shapes)
        num_critics = len(self._critic_shapes)
        return networks[:num_critics], networks[num_critics:], log_temperature


def _shapes(
    inputs: int, outputs: int, copies: tuple[int, ...] = ()
) -> list[tuple[int, ...]]:
    """Shapes of a network, or of some side by side."""
    sizes = (inputs, _HIDDEN, _HIDDEN, outputs)
    shapes = []
    for before, after in zip(sizes, sizes[1:], strict=False):
        shapes += [(*copies, before, after), (*copies, 1, after)]
    return shapes


def _first_values(
    shapes: list[tuple[int, ...]], random: np.random.Generator
) -> np.ndarray:
    """Glorot uniform kernels, zero biases, and the first temperature, as a vector."""
    values = []
    for kernel, bias in zip(shapes[:-1:2], shapes[1:-1:2], strict=True):
        limit = math.sqrt(6.0 / (kernel[-2] + kernel[-1]))
        values.append(random.uniform(-limit, limit, math.prod(kernel)))
        values.append(np.zeros(math.prod(bias)))
    values.append(np.array([math.log(_FIRST_TEMPERATURE)]))
    return np.concatenate(values).astype("float32")


def _unpacked(vector: tf.Tensor, shapes: list[tuple[int, ...]]) -> list[tf.Tensor]:
    """Tensors of these shapes, which follow each other in a vector."""
    pieces = tf.split(vector, [math.prod(shape) for shape in shapes])
    return [tf.reshape(p, shape) for p, shape in zip(pieces, shapes, strict=True)]


def _output(network: Network, inputs: tf.Tensor) -> tf.Tensor:
    """Output `(..., batch, outputs)` of a network for `(batch, inputs)`."""
    for kernel, bias in zip(network[:-2:2], network[1:-2:2], strict=True):
        inputs = tf.nn.relu(tf.matmul(inputs, kernel) + bias)
    return tf.matmul(inputs, network[-2]) + network[-1]


def _drawn(
    actor: Network, states: tf.Tensor, noise: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Logits `(batch, size)` and the logarithm of their density `(batch, 1)`."""
    mean, log_std = tf.split(_output(actor, states), 2, axis=1)
    log_std = tf.clip_by_value(log_std, *_LOG_STD_RANGE)
    densities = -0.5 * tf.square(noise) - log_std - 0.5 * math.log(2.0 * math.pi)
    density = tf.reduce_sum(densities, axis=1, keepdims=True)
    return mean + tf.exp(log_std) * noise, density
