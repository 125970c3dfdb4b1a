"""From nothing to served predictions: equal weights against GradCraft."""

import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tf_mtl import datasets
from tf_mtl.callbacks.monitor import read_log
from tf_mtl.experiments import client
from tf_mtl.experiments.config import TrainConfig
from tf_mtl.experiments.tables import table
from tf_mtl.experiments.training import train
from tf_mtl.export.versions import find_saved_model

METHODS = {"ew": "equal weights", "gradcraft": "GradCraft"}
_SERVED_ROWS = 5


def demo(output_dir: str | os.PathLike[str], config: TrainConfig) -> dict[str, Any]:
    """Trains with both methods, compares them, and serves the second.

    Args:
        output_dir: folder for the runs, the picture and the rows that are served. Runs
            of an earlier demo in it are replaced.
        config: choices of both runs but the aggregator.

    Returns:
        dict by aggregator of what `training.train` returns.
    """
    folder = pathlib.Path(output_dir).expanduser()
    started = time.perf_counter()

    def say(text: str) -> None:
        print(f"[{time.perf_counter() - started:4.0f} s] {text}", flush=True)

    info = datasets.get(config.dataset)
    say("two runs and their comparison, about two minutes on two idle cores")
    results = {}
    for i, (aggregator, title) in enumerate(METHODS.items(), start=1):
        say(f"{i}/4 train {config.model} with {title}: {info.description}")
        changed = {**vars(config), "aggregator": aggregator, "aggregator_args": {}}
        results[aggregator] = train(
            TrainConfig(**changed), folder / aggregator, overwrite=True
        )
    say("3/4 compare on the test split")
    print(_comparison(results))
    draw(folder / "demo.png", {name: folder / name for name in METHODS}, results)
    print(f"Picture of AUC and gradient cosine: {folder / 'demo.png'}")
    version = find_saved_model(folder / "gradcraft")
    say(f"4/4 load {version} in a new process that imports TensorFlow alone")
    print(_serve(version, folder / "rows.json", info, config))
    say(f"done. See everything with: tensorboard --logdir={folder}")
    return results


def draw(
    path: pathlib.Path,
    runs: Mapping[str, pathlib.Path],
    results: Mapping[str, Mapping[str, Any]],
) -> None:
    """Draws test AUC per task, and the cosine of the task gradients over the steps.

    Args:
        path: PNG file to write.
        runs: folder of each run, by aggregator; trained with `monitor_every`.
        results: dict by aggregator of what `training.train` returned.
    """
    # Slow to import, and needed once. The object interface needs no display.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    auc_axis, cosine_axis = figure.subplots(1, 2)
    width = 0.8 / len(runs)
    for i, name in enumerate(runs):
        tasks = results[name]["test"]
        values = [tasks[task]["auc"] for task in tasks]
        places = np.arange(len(tasks)) + i * width
        bars = auc_axis.bar(places, values, width, label=METHODS[name])
        auc_axis.bar_label(bars, fmt="%.4f", fontsize="small")
        auc_axis.set_xticks(np.arange(len(tasks)) + width / 2, list(tasks))
        rows = read_log(runs[name] / "logs" / "conflicts" / "conflicts.csv")
        steps = [row["step"] for row in rows]
        for column in (c for c in rows[0] if c.startswith("cosine:")):
            cosines = [row[column] for row in rows]
            cosine_axis.plot(steps, cosines, label=METHODS[name])
    # Room above the bars for their labels and the legend.
    auc_axis.set(title="test AUC", ylim=(0.5, 1.15), yticks=np.arange(0.5, 1.01, 0.1))
    cosine_axis.set(title="cosine of the task gradients", xlabel="step", ylim=(-1, 1))
    cosine_axis.axhline(0.0, color="grey", linewidth=0.8)
    for axis in (auc_axis, cosine_axis):
        axis.legend(fontsize="small")
    figure.savefig(path, dpi=120)


def _comparison(results: Mapping[str, Mapping[str, Any]]) -> str:
    tasks = list(next(iter(results.values()))["test"])
    rows = []
    for name, result in results.items():
        aucs = [result["test"][task]["auc"] for task in tasks]
        rate = result["throughput"]["rows_per_second"]
        speed = "-" if rate is None else f"{rate:,.0f}"
        rows.append([METHODS[name], *aucs, float(np.mean(aucs)), speed])
    header = ["method", *(f"AUC {task}" for task in tasks), "mean", "rows/s"]
    return table(header, rows)


def _serve(
    version: pathlib.Path,
    path: pathlib.Path,
    info: datasets.DatasetInfo,
    config: TrainConfig,
) -> str:
    features, labels = info.load_columns("test", config.manual_dir, config.data_dir)
    rows = {name: _listed(column) for name, column in features.items()}
    path.write_text(json.dumps(rows))
    # -P: without the folder of the script, the process cannot find this package.
    answered = subprocess.run(
        [sys.executable, "-P", client.__file__, os.fspath(version), os.fspath(path)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    predictions = json.loads(answered.stdout)
    known = {name: _listed(labels[name]) for name in predictions}
    header = ["row", *(f"{task} (label)" for task in predictions)]
    return table(header, list(_cells(predictions, known)))


def _cells(
    predictions: Mapping[str, Sequence[float]], labels: Mapping[str, Sequence[float]]
) -> list[list[str]]:
    return [
        [
            str(i),
            *(f"{p[i]:.4f} ({labels[t][i]:g})" for t, p in predictions.items()),
        ]
        for i in range(_SERVED_ROWS)
    ]


def _listed(column: Any) -> list[Any]:
    values = np.asarray(column[:_SERVED_ROWS]).tolist()
    return [v.decode() if isinstance(v, bytes) else v for v in values]
