"""Two losses of two parameters with a known Pareto front: where each method ends."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import TextIO

import keras
import numpy as np
import tensorflow as tf

from tf_mtl import aggregators
from tf_mtl.files import replacing, write_json

# The usual starts: two in the valley of each loss, between them, far off.
STARTS = ((-8.5, 7.5), (-8.5, 5.0), (0.0, 0.0), (9.0, 9.0), (10.0, -8.0))

# The losses go down to -20; logarithms and ratios of losses want positive ones.
_SHIFT = 21.0
_FLOOR = 5e-6


@dataclasses.dataclass(frozen=True)
class Run:
    """Where one method went from one start.

    Attributes:
        method: str.
        start: the start.
        path: float array `(points, 2)`, parameters over the steps, both ends included.
        losses: float array `(points, 2)` there.
        gap: by how much both losses could still fall at once, see `gap_to_front`.
        fallbacks: int, steps whose weights could not be found.
    """

    method: str
    start: tuple[float, float]
    path: np.ndarray
    losses: np.ndarray
    gap: float
    fallbacks: int


def toy_losses(parameters: tf.Tensor) -> tf.Tensor:
    """The two losses, shifted so that they are positive.

    Args:
        parameters: float64 tensor of shape `(..., 2)`.

    Returns:
        float64 tensor of shape `(..., 2)`.

    Reference:
        Liu et al., Conflict-Averse Gradient Descent for Multi-task Learning, NeurIPS
        2021, arXiv:2110.14048, appendix; used by Navon et al., Multi-Task Learning as
        a Bargaining Game, ICML 2022. Both losses get 21 added.
    """
    x, y = parameters[..., 0], parameters[..., 1]
    upper = tf.maximum(tf.tanh(0.5 * y), 0.0)
    lower = tf.maximum(tf.tanh(-0.5 * y), 0.0)
    first = tf.abs(0.5 * (-x - 7.0) - tf.tanh(-y))
    second = tf.abs(0.5 * (-x + 3.0) + tf.tanh(-y) + 2.0)
    steep = [tf.math.log(tf.maximum(each, _FLOOR)) + 6.0 for each in (first, second)]
    flat = [
        (tf.square(-x + centre) + 0.1 * tf.square(-y - 8.0)) / 10.0 - 20.0
        for centre in (7.0, -7.0)
    ]
    pairs = zip(steep, flat, strict=True)
    return tf.stack([upper * s + lower * f + _SHIFT for s, f in pairs], axis=-1)


def toy_front(points: int = 1001) -> np.ndarray:
    """Losses along the Pareto front, `(points, 2)`.

    A point of the front minimises `w * loss_1 + (1 - w) * loss_2`. There `x` is the
    mean of the centres of the two bowls, and `y` is found on a fine grid.
    """
    share = np.linspace(0.0, 1.0, points)
    x = 7.0 * (2.0 * share - 1.0)
    y = np.linspace(-9.0, -8.0, 1001)
    grid = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1)
    losses = toy_losses(tf.constant(grid)).numpy()
    total = losses[..., 0] * share[:, None] + losses[..., 1] * (1.0 - share[:, None])
    return losses[np.arange(points), total.argmin(axis=1)]


def gap_to_front(losses: np.ndarray, front: np.ndarray) -> float:
    """By how much both losses could fall at once, 0 on the front.

    Args:
        losses: float array `(2,)`.
        front: float array `(points, 2)`, see `toy_front`.
    """
    return max(0.0, float(np.min(losses - front, axis=1).max()))


def run(
    methods: Sequence[str],
    starts: Sequence[tuple[float, float]] = STARTS,
    epochs: int = 100,
    steps_per_epoch: int = 500,
    learning_rate: float = 1e-3,
    out: TextIO | None = None,
) -> list[Run]:
    """Runs Adam from each start along the directions of each method.

    Args:
        methods: names of aggregators. Each starts afresh from every start.
        starts: pairs of parameters.
        epochs: int. One point of the path is kept for each.
        steps_per_epoch: int.
        learning_rate: float.
        out: where progress is printed; None: standard output.

    Returns:
        list of `Run`, by method and start.
    """
    runs = []
    for name in methods:
        aggregator = aggregators.get(name)
        descent = _Descent(aggregator, learning_rate, epochs, steps_per_epoch)
        found = [descent.run(name, start) for start in starts]
        gaps = "  ".join(f"{each.gap:6.3f}" for each in found)
        print(f"{name:14} gap to the front: {gaps}", file=out, flush=True)
        runs += found
    return runs


def write(runs: Sequence[Run], folder: str) -> None:
    """Writes `pareto.json` and the figure `pareto.png`."""
    target = pathlib.Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "method": each.method,
            "start": list(each.start),
            "end": each.path[-1].tolist(),
            "losses": each.losses[-1].tolist(),
            "gap": each.gap,
            "fallbacks": each.fallbacks,
        }
        for each in runs
    ]
    write_json(target / "pareto.json", {"runs": rows})
    with replacing(target / "pareto.png") as temporary:
        draw(runs, temporary)


def draw(runs: Sequence[Run], path: pathlib.Path) -> None:
    """One panel per method: the losses over the steps, and the Pareto front."""
    from matplotlib import figure

    names = list(dict.fromkeys(each.method for each in runs))
    columns = min(6, len(names))
    rows = -(-len(names) // columns)
    picture = figure.Figure(figsize=(2.4 * columns, 2.3 * rows), layout="constrained")
    panels = picture.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    front = toy_front()
    for panel in panels.flat[len(names) :]:
        panel.set_visible(False)
    for panel, name in zip(panels.flat, names, strict=False):
        panel.plot(*front.T, color="0.6", linewidth=4, zorder=1)
        for each in (r for r in runs if r.method == name):
            panel.plot(*each.losses.T, linewidth=1, zorder=2)
            panel.plot(*each.losses[0], "k.", markersize=5, zorder=3)
            panel.plot(*each.losses[-1], "r*", markersize=8, zorder=4)
        panel.set_title(name, fontsize=9)
        panel.tick_params(labelsize=7)
    picture.supxlabel("loss 1")
    picture.supylabel("loss 2")
    picture.suptitle("From five starts (dots) to the end (stars); grey: Pareto front")
    picture.savefig(path, format="png", dpi=120)


class _Descent:
    """Adam along the direction of one aggregator, an epoch per compiled call."""

    def __init__(
        self,
        aggregator: aggregators.Aggregator,
        learning_rate: float,
        epochs: int,
        steps_per_epoch: int,
    ) -> None:
        aggregator.build(2)
        if isinstance(aggregator, aggregators.RowAggregator):
            aggregator.build_rows([(2,)])
        self._aggregator = aggregator
        self._epochs = epochs
        self._parameters = keras.Variable([0.0, 0.0], dtype="float64", name="toy")
        self._front = toy_front()
        self._optimizer = keras.optimizers.Adam(learning_rate)
        self._optimizer.build([self._parameters])
        self._state = [*aggregator.variables, *self._optimizer.variables]
        self._initial = [variable.numpy() for variable in self._state]

        @tf.function(jit_compile=True)
        def epoch() -> None:
            tf.while_loop(
                lambda _: True, self._step, [0], maximum_iterations=steps_per_epoch
            )

        self._epoch = epoch

    def run(self, name: str, start: tuple[float, float]) -> Run:
        """From one start, with fresh state."""
        for variable, value in zip(self._state, self._initial, strict=True):
            variable.assign(value)
        self._parameters.assign(start)
        path = [self._parameters.numpy()]
        for _ in range(self._epochs):
            self._epoch()
            self._aggregator.end_epoch()
            path.append(self._parameters.numpy())
        losses = toy_losses(tf.constant(np.stack(path))).numpy()
        gap = gap_to_front(losses[-1], self._front)
        fallbacks = int(self._aggregator.fallback_count.numpy())
        return Run(name, start, np.stack(path), losses, gap, fallbacks)

    def _step(self, index: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape(persistent=True) as tape:
            losses = toy_losses(self._parameters.value)
            each = tf.unstack(losses)
        rows = [tape.gradient(loss, self._parameters.value) for loss in each]
        direction = self._aggregator(tf.stack(rows), losses)
        self._optimizer.apply([direction], [self._parameters])
        if self._aggregator.observes_update:
            updated = self._aggregator.updated_losses(
                lambda: toy_losses(self._parameters.value)
            )
            self._aggregator.observe(updated)
        return index + 1
