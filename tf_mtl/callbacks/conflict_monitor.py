"""ConflictMonitor: angles and lengths of task gradients while training."""

import itertools
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mtl.callbacks.monitor import Monitor, angle, column, parts


class ConflictMonitor(Monitor):
    """Watches the task gradients of a model on one fixed batch.

    For each pair of tasks `a`, `b` it logs `cosine:<a>:<b>`, below 0 where they
    conflict, and `norm_ratio:<a>:<b>`, the length of the first over that of the second
    gradient; both over all shared variables. A value that does not exist, since a
    gradient is 0, is NaN.

    Written to `log_dir`: `conflicts.csv`, a row per look; TensorBoard events; and at
    the end of training `conflicts.png`. A run that is resumed in the same folder
    goes on with the same file. Watching does not change the training.

    Args:
        log_dir: folder for what is written; made if it does not exist.
        data: `(inputs, labels)`, the batch to look at. A few hundred rows are
            enough; one look costs about as much as a step on them.
        every: int. Updates of the optimizer between two looks, the first before the
            first; one that is skipped does not count. With `steps_per_execution` a look
            waits for the end of an execution.

    Raises:
        ValueError: if `every` is not positive.
    """

    stem = "conflicts"

    def look(self, inputs: Any, labels: Any) -> tf.Tensor:
        """The Gramian of the task gradients."""
        return self.model.gramian(inputs, labels)

    def values(self, found: np.ndarray) -> dict[str, float]:
        """Cosine and ratio of norms of each pair of tasks."""
        values = {}
        names = enumerate(task.name for task in self.model.tasks)
        for (i, a), (j, b) in itertools.combinations(names, 2):
            cosine, ratio = angle(found, i, j)
            values[column("cosine", a, b)] = cosine
            values[column("norm_ratio", a, b)] = ratio
        return values

    def draw(self, rows: list[dict[str, float]], figure: Any) -> None:
        """Cosines beside ratios of norms, over the steps."""
        figure.set_size_inches(8, 3.5)
        axes = figure.subplots(1, 2)
        steps = [row["step"] for row in rows]
        for name in rows[0]:
            kind, *pair = parts(name)
            if pair:  # Not the step.
                axis = axes[int(kind == "norm_ratio")]
                axis.plot(steps, [row[name] for row in rows], label=", ".join(pair))
        axes[0].set(title="cosine of task gradients", xlabel="step", ylim=(-1, 1))
        axes[0].axhline(0.0, color="grey", linewidth=0.8)
        axes[1].set(title="ratio of their lengths", xlabel="step", yscale="log")
        if len(axes[0].lines) > 1:
            axes[0].legend(fontsize="small")
