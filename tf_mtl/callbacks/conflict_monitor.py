"""ConflictMonitor: angles and lengths of task gradients while training."""

import csv
import itertools
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_mtl.files import replacing


class ConflictMonitor(keras.callbacks.Callback):
    """Watches the task gradients of a model on one fixed batch.

    For each pair of tasks `a`, `b` it logs `cosine_<a>_<b>`, below 0 where they
    conflict, and `norm_ratio_<a>_<b>`, the length of the first over that of the second
    gradient; both over all shared variables. A value that does not exist, since a
    gradient is 0, is NaN.

    Written to `log_dir`: `conflicts.csv`, a row per look; TensorBoard events; and at
    the end of training `conflicts.png`. A run that is resumed in the same folder
    goes on with the same file. Watching does not change the training.

    Args:
        log_dir: folder for what is written; made if it does not exist.
        data: `(inputs, labels)`, the batch to look at. A few hundred rows are
            enough; one look costs about as much as a step on them.
        every: int. Steps between two looks, the first before the first step.

    Raises:
        ValueError: if `every` is not positive.
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str],
        data: tuple[Any, Any],
        every: int = 100,
    ) -> None:
        super().__init__()
        if every < 1:
            raise ValueError(f"`every` must be positive. Received: every={every}.")
        self.log_dir = pathlib.Path(log_dir)
        self.every = every
        self._data = data
        self._step = 0
        self._rows: list[dict[str, float]] = []

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Compiles the look, and goes on from earlier rows of the file."""
        self._gramian = tf.function(
            self.model.gramian, jit_compile=self.model.jit_compile
        )
        self._step = int(self.model.optimizer.iterations)
        # Steps after the last checkpoint are done, and logged, once more.
        self._rows = [
            row
            for row in read_conflicts(self.log_dir / "conflicts.csv")
            if row["step"] < self._step
        ]
        self.log_dir.mkdir(parents=True, exist_ok=True)
        self._writer = tf.summary.create_file_writer(os.fspath(self.log_dir))

    def on_train_batch_begin(
        self, batch: int, logs: Mapping[str, Any] | None = None
    ) -> None:
        """Looks every `every` steps."""
        if self._step % self.every == 0:
            self._look()
        self._step += 1

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Writes the file."""
        if self._rows:
            with (
                replacing(self.log_dir / "conflicts.csv") as temporary,
                temporary.open("w", newline="") as file,
            ):
                writer = csv.DictWriter(file, list(self._rows[0]))
                writer.writeheader()
                writer.writerows(self._rows)

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Draws the picture."""
        self._writer.close()
        if self._rows:
            _draw(self._rows, self.log_dir / "conflicts.png")

    def _look(self) -> None:
        # The forward pass is one of training: it moves seeds and running means.
        state = [(v, tf.identity(v.value)) for v in self.model.non_trainable_variables]
        gramian = self._gramian(*self._data).numpy().astype(np.float64)
        for variable, value in state:
            variable.assign(value)
        names = [task.name for task in self.model.tasks]
        row = {"step": float(self._step), **_geometry(gramian, names)}
        self._rows.append(row)
        with self._writer.as_default(step=self._step):
            for name, value in row.items():
                if name != "step":
                    tf.summary.scalar(f"conflicts/{name}", value)


def read_conflicts(path: str | os.PathLike[str]) -> list[dict[str, float]]:
    """Reads a file `conflicts.csv`.

    Args:
        path: the file; one that does not exist has no rows.

    Returns:
        list of dicts: `step`, and what `ConflictMonitor` logs.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [
            {name: float(value) for name, value in row.items()}
            for row in csv.DictReader(file)
        ]


def _geometry(gramian: np.ndarray, names: list[str]) -> dict[str, float]:
    norms = np.sqrt(np.diagonal(gramian))
    values = {}
    with np.errstate(divide="ignore", invalid="ignore"):
        for (i, a), (j, b) in itertools.combinations(enumerate(names), 2):
            cosine = gramian[i, j] / (norms[i] * norms[j])
            values[f"cosine_{a}_{b}"] = float(np.clip(cosine, -1, 1))
            values[f"norm_ratio_{a}_{b}"] = float(norms[i] / norms[j])
    return values


def _draw(rows: list[dict[str, float]], path: pathlib.Path) -> None:
    # Slow to import, and needed once. The object interface leaves the backend of the
    # program as it is.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.5), layout="constrained")
    axes = figure.subplots(1, 2)
    steps = [row["step"] for row in rows]
    for name in rows[0]:
        kind, _, pair = name.partition("_")
        if kind in ("cosine", "norm"):
            label = pair.removeprefix("ratio_").replace("_", " ")
            axis = axes[int(kind == "norm")]
            axis.plot(steps, [row[name] for row in rows], label=label)
    axes[0].set(title="cosine of task gradients", xlabel="step", ylim=(-1, 1))
    axes[0].axhline(0.0, color="grey", linewidth=0.8)
    axes[1].set(title="ratio of their lengths", xlabel="step", yscale="log")
    if axes[0].lines:
        axes[0].legend(fontsize="small")
    figure.savefig(path, dpi=120)
