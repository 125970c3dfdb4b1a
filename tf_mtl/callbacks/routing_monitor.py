"""RoutingMonitor: what the router and the updater of DRGrad do while training."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mtl import gradients
from tf_mtl.callbacks.monitor import Monitor, angle, column, parts


class RoutingMonitor(Monitor):
    """Watches the branches of `SplitMMoE` and `DRGrad` on one fixed batch.

    For each primary task `p` and each secondary task `s`, with the gradients that the
    model routes (see `SplitMMoE.routes`), it logs

    - `cosine_before:<p>:<s>`, `norm_ratio_before:<p>:<s>`: of the dedicated branch of
      `p`, whose norm is the numerator, and of `s`;
    - `cosine_after:<p>:<s>`, `norm_ratio_after:<p>:<s>`: the same, once the branch has
      taken what is routed to it;
    - `cosine_halves:<p>`: of the dedicated branch and the shared half of `p`;
    - `weight_dedicated:<p>`, `weight_shared:<p>`: weights of these two, the paper's mu.

    A value that does not exist, since a gradient is 0, is NaN. In a model without a
    router, "after" is what the default `Router` would give.

    Written to `log_dir`: `routing.csv`, a row per look; TensorBoard events; and at
    the end of training `routing.png`. A run that is resumed in the same folder goes on
    with the same file. Watching does not change the training.

    Args:
        log_dir: folder for what is written; made if it does not exist.
        data: `(inputs, labels)`, the batch to look at. A few hundred rows are
            enough; one look costs about as much as a step on them.
        every: int. Updates of the optimizer between two looks, the first before the
            first; one that is skipped does not count. With `steps_per_execution` a look
            waits for the end of an execution.

    Raises:
        ValueError: if `every` is not positive.
        TypeError: when training begins, if the model has no branches to watch.

    Reference:
        Liu et al., DRGrad, AAAI 2025, arXiv:2510.09643, figures 4 to 7.
    """

    stem = "routing"

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Compiles the look, and goes on from earlier rows of the file."""
        if not hasattr(self.model, "routes"):
            raise TypeError(
                "`RoutingMonitor` watches a SplitMMoE or DRGrad. Received: a model of "
                f"type {type(self.model).__name__}. Use `ConflictMonitor`."
            )
        super().on_train_begin(logs)

    def look(self, inputs: Any, labels: Any) -> tuple[tf.Tensor, ...]:
        """Gramian of the branches and of the routed ones, weights of the updater."""
        routes = self.model.routes(inputs, labels)
        old, new = map(tf.nest.flatten, (routes.received, routes.gradients))
        # All branches as they are and, below them, the dedicated ones as routed.
        num_primary = len(self.model.primaries)
        rows = [
            tf.concat([before, after[:num_primary]], axis=0)
            for before, after in zip(old, new, strict=True)
        ]
        gramian = tf.add_n([gradients.gramian(block) for block in rows])
        return gramian, self.model.updater.branch_weights()

    def values(self, found: tuple[np.ndarray, ...]) -> dict[str, float]:
        """Angles before and after routing, and the weights of both branches."""
        gramian, weights = found
        tasks, primaries = self.model.tasks, self.model.primaries
        num_primary = len(primaries)
        num_branches = gramian.shape[-1] - num_primary

        values = {}
        for p, primary in enumerate(tasks[i].name for i in primaries):
            for s, i in enumerate(self.model.secondaries, 2 * num_primary):
                pair = primary, tasks[i].name
                for when, row in (("before", p), ("after", num_branches + p)):
                    cosine, ratio = angle(gramian, row, s)
                    values[column(f"cosine_{when}", *pair)] = cosine
                    values[column(f"norm_ratio_{when}", *pair)] = ratio
            cosine, _ = angle(gramian, p, num_primary + p)
            values[column("cosine_halves", primary)] = cosine
            values[column("weight_dedicated", primary)] = float(weights[p, 0])
            values[column("weight_shared", primary)] = float(weights[p, 1])
        return values

    def draw(self, rows: list[dict[str, float]], figure: Any) -> None:
        """Cosines, ratios of norms and weights over the steps."""
        figure.set_size_inches(13, 4)
        axes = figure.subplots(1, 3)
        colors: dict[str, str] = {}
        steps = [row["step"] for row in rows]
        for name in rows[0]:
            kind, *names = parts(name)
            if not names:  # The step.
                continue
            panel, style, text = _DRAWN[kind]
            what = ", ".join(names)
            color = colors.setdefault(what, f"C{len(colors)}")
            axes[panel].plot(
                steps,
                [row[name] for row in rows],
                style,
                color=color,
                label=f"{what}: {text}",
            )
        axes[0].set(title="cosine of the dedicated branch", ylim=(-1.05, 1.05))
        axes[1].set(title="its norm over that of a secondary task", yscale="log")
        axes[2].set(title="weights of the branches", ylim=(-0.05, 1.05))
        axes[0].axhline(0.0, color="grey", linewidth=0.8)
        for axis in axes:
            axis.set(xlabel="step")
            if axis.get_legend_handles_labels()[0]:
                axis.legend(fontsize="x-small")


# By kind of value: panel, line style and words in the legend.
_DRAWN = {
    "cosine_before": (0, "--", "before"),
    "cosine_after": (0, "-", "after routing"),
    "cosine_halves": (0, ":", "both halves"),
    "norm_ratio_before": (1, "--", "before"),
    "norm_ratio_after": (1, "-", "after routing"),
    "weight_dedicated": (2, "-", "dedicated"),
    "weight_shared": (2, "--", "shared half"),
}
