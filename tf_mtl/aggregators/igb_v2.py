"""IGBv2: an agent learns which weights let the losses fall together."""

from typing import Any

import tensorflow as tf

from tf_mtl.aggregators.base_losses import BaseLosses, check_epoch
from tf_mtl.aggregators.checks import check_count
from tf_mtl.aggregators.loss_weighting import LossWeighting
from tf_mtl.aggregators.positive import positive
from tf_mtl.aggregators.random_weights import RandomWeights
from tf_mtl.aggregators.registry import register
from tf_mtl.aggregators.replay_buffer import ReplayBuffer
from tf_mtl.aggregators.soft_actor_critic import SoftActorCritic
from tf_mtl.aggregators.softmax import scaled_softmax


@register("igb_v2")
class IGBv2(RandomWeights, LossWeighting):
    """Lets a soft actor-critic agent choose the weights.

    The total is `sum_t(w_t log l_t)`, so the weights are `w_t / l_t`, with
    `w = T softmax(u)` over the `T` present tasks. The base losses `B` are the mean
    losses of one early epoch. The agent sees the state `s = l / B` and draws `u`; at
    the next step its reward is `min_t(s_t - s'_t)`, how far the task that did worst
    has come. What is known of past steps is kept in a replay buffer, of which the
    agent learns.

    Epochs end by `end_epoch`, which `fit` calls, and decide who draws `u`:

    - before `random_epochs`, standard normals;
    - from then on the agent; or nobody (`w = 1`) while no base loss is known.

    Absent tasks: the agent acts on all tasks, and the weights of present ones are
    scaled to the mean 1. The loss of an absent task counts as its last one in the
    state, and does not count in the reward. A loss below 1e-8 counts as 1e-8. Losses
    must not be negative: such a step takes the mean, see `fallback_count`. One task
    gets its gradient over its loss. What the agent has learnt in a step stays where the
    step is undone, so that one that is repeated teaches it again; updates that give
    numbers that are not finite are not made.

    Costs: the buffer, `capacity` rows of `3 T + 1` floats; and at the steps where the
    agent learns, the time of `num_updates` updates of small networks, 1 to 1.5 ms each
    on two cores of a CPU.

    Args:
        base_epoch: int, at least 0. Index of the epoch whose mean losses are the base
            losses.
        random_epochs: int, at least 0. Number of epochs with random weights.
        learn_epoch: int, at least 0. Index of the first epoch in which the agent
            learns.
        learn_every: int, at least 1. The agent learns each time that this many steps
            are over.
        num_updates: int, at least 1. Updates that it makes then.
        batch_size: int, at least 1. Number of transitions of an update.
        capacity: int, at least 1. Number of transitions that are kept.
        seed: int, seed of the agent and of all draws. None: drawn now, and kept in the
            config.
        **kwargs: see `LossWeighting`.

    Raises:
        ValueError: if an argument is outside its range.

    Reference:
        Dai, Fei, Lu, Improvable Gap Balancing for Multi-Task Learning, UAI 2023,
        PMLR 216:496-506, arXiv:2307.15429 (IGBv2). Differs from the official code: the
        number of updates and their batch keep the size that they start with there,
        where both double as the buffer fills (to 50 and 256); states are losses over
        base losses, not raw; no transition starts from a made-up state of zeros; the
        entropy is that of `u`, not corrected as if the softmax were a tanh. See
        `SoftActorCritic` for the agent.
    """

    def __init__(
        self,
        base_epoch: int = 1,
        random_epochs: int = 5,
        learn_epoch: int = 3,
        learn_every: int = 50,
        num_updates: int = 25,
        batch_size: int = 128,
        capacity: int = 10_000,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed=seed, **kwargs)
        self.base_epoch = check_epoch("base_epoch", base_epoch)
        self.random_epochs = check_epoch("random_epochs", random_epochs)
        self.learn_epoch = check_epoch("learn_epoch", learn_epoch)
        self.learn_every = check_count("learn_every", learn_every)
        self.num_updates = check_count("num_updates", num_updates)
        self.batch_size = check_count("batch_size", batch_size)
        self.capacity = check_count("capacity", capacity)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "base_epoch": self.base_epoch,
            "random_epochs": self.random_epochs,
            "learn_epoch": self.learn_epoch,
            "learn_every": self.learn_every,
            "num_updates": self.num_updates,
            "batch_size": self.batch_size,
            "capacity": self.capacity,
        }

    def end_epoch(self) -> None:
        """Makes the mean losses of the epoch the base losses if it is the one."""
        self._base.end_epoch()

    def _build(self, num_tasks: int) -> None:
        super()._build(num_tasks)
        self._base = BaseLosses(self, num_tasks, self.base_epoch)
        self._agent = SoftActorCritic(self, num_tasks, self.seed)
        self._replay = ReplayBuffer(self, self.capacity, 3 * num_tasks + 1)
        self._steps = self.add_variable("steps", dtype="int32")
        # 0 where a task was not seen since its base loss is known.
        self._last_state = self.add_variable("last_state", (num_tasks,))
        self._last_action = self.add_variable("last_action", (num_tasks,))

    def _weights(self, losses: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        self._base.update(losses)
        losses = positive(losses)
        state = tf.math.divide_no_nan(losses, self._base.value)
        state = tf.where(present, state, self._last_state.value)
        self._remember(state, present)
        self._learn(present)
        logits = self._logits(state)
        self._last_state.assign(state)
        self._last_action.assign(scaled_softmax(logits, tf.ones_like(present)))
        return scaled_softmax(logits, present) / losses

    def _remember(self, state: tf.Tensor, present: tf.Tensor) -> None:
        """Stores what the last action has led to."""
        last = self._last_state.value
        is_compared = present & (last > 0.0) & (state > 0.0)
        reward = tf.reduce_min(tf.where(is_compared, last - state, tf.float64.max))
        transition = [last, self._last_action.value, reward[None], state]
        self._replay.add(tf.concat(transition, 0), tf.reduce_any(is_compared))

    def _learn(self, present: tf.Tensor) -> None:
        """Lets the agent make updates where they are due."""
        self._steps.assign_add(1)
        is_due = tf.reduce_any(present)
        is_due &= self._base.ended_epochs >= self.learn_epoch
        is_due &= self._steps.value % self.learn_every == 0
        is_due &= self._replay.size > 0
        agent, seed = self._agent, tf.cast(self._seed_generator.next(), tf.int32)
        learned = tf.cond(
            is_due,
            lambda: agent.learned(*self._batches(seed)),
            lambda: [tf.identity(variable.value) for variable in agent.state],
        )
        for variable, value in zip(agent.state, learned, strict=True):
            variable.assign(value)

    def _batches(self, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Transitions and noise of the updates, see `SoftActorCritic.learned`."""
        seeds = tf.unstack(tf.random.split(seed, 2, alg="philox"))
        updates, batch = self.num_updates, self.batch_size
        transitions = self._replay.sample((updates, batch), seeds[0])
        shape = (updates, 2, batch, self.num_tasks)
        return transitions, tf.random.stateless_normal(shape, seeds[1], alg="philox")

    def _logits(self, state: tf.Tensor) -> tf.Tensor:
        """Logits of the weights, drawn by whose turn it is, float64 `(num_tasks,)`."""
        noise = self._normals(state.shape[0])
        single = tf.cast(state, tf.float32), tf.cast(noise, tf.float32)
        drawn = tf.cast(self._agent.logits(*single), tf.float64)
        drawn = tf.where(tf.reduce_any(self._base.value > 0.0), drawn, 0.0)
        is_random = self._base.ended_epochs < self.random_epochs
        return tf.where(is_random, noise, drawn)
