"""One training run: from a config to a checked, exported model and its numbers."""

import dataclasses
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from tf_mtl import callbacks, datasets, export
from tf_mtl.experiments.config import FOLDERS, TrainConfig
from tf_mtl.experiments.data import PreparedData, Rows, prepare
from tf_mtl.experiments.fitting import (
    calibrate,
    check_choices,
    evaluate,
    fit_best,
    make_model,
)
from tf_mtl.experiments.run_folder import RunFolder
from tf_mtl.export.warmup import can_write_warmup
from tf_mtl.files import write_json

# Rows of the look at the gradients.
_PROBE_ROWS = 1024


def train(
    config: TrainConfig,
    output_dir: str | os.PathLike[str],
    resume: bool = False,
    overwrite: bool = False,
    extra_callbacks: Sequence[keras.callbacks.Callback] = (),
) -> dict[str, Any]:
    """Trains, evaluates on the test split, exports.

    The epoch with the best validation score is kept: the mean AUC of the binary tasks,
    or without any the loss. The test split is looked at once, at the end.

    Written to `output_dir`: `config.json`, `checkpoints/`, `logs/` (TensorBoard, and
    the conflicts if `monitor_every` is set), `saved_model/1` (with warm-up requests, if
    the extra `serving` is installed) and, last, `metrics.json`.

    Args:
        config: the choices of the run.
        output_dir: folder for everything that is written.
        resume: bool. Goes on after the last finished epoch of a run that was stopped,
            with the same numbers as if it had not been. A finished run is only read.
        overwrite: bool. Deletes an earlier run in the folder first.
        extra_callbacks: Keras callbacks to add.

    Returns:
        The content of `metrics.json`: `test` and `validation` (metrics by task),
        `train` (`epochs`, `best_epoch`, `history` with the logs of each epoch),
        `throughput` and `config`.

    Raises:
        FileExistsError: if the folder holds a run and neither `resume` nor
            `overwrite` is given, or files of the names above that belong to no run.
        FileNotFoundError: if a source file of the data set is missing.
        ValueError: if a source file is damaged, a resumed run began with other
            choices, or the export cannot be as asked, see `fitting.check_choices`.
    """
    folder = RunFolder(output_dir)
    folder.check(config, resume, overwrite)
    finished = folder.finished()
    if finished is not None and resume:
        return finished
    keras.utils.set_random_seed(config.seed)
    data = prepare(config)
    check_choices(config, data)
    # Not before: a wrong choice must not leave a run behind.
    folder.start(config, resume, overwrite)
    model = make_model(config, data)
    throughput = callbacks.Throughput(min(config.batch_size, len(data.train)))
    checkpoint = fit_best(
        model,
        config,
        data,
        folder.checkpoints,
        [
            throughput,
            keras.callbacks.TensorBoard(folder.logs, write_graph=False),
            *_monitor(config, folder, data.train, model),
            *extra_callbacks,
        ],
        # Bars of a log file would be one line per step.
        verbose=1 if sys.stdout.isatty() else 2,
    )
    result = {
        "test": evaluate(model, data.tasks, data.test),
        "validation": evaluate(model, data.tasks, data.validation),
        "train": {
            "epochs": len(checkpoint.history),
            "best_epoch": checkpoint.best_epoch,
            "history": checkpoint.history,
        },
        "throughput": throughput.result(),
        "config": dataclasses.asdict(config),
    }
    # A version of a run that was stopped while it wrote may be half there.
    shutil.rmtree(folder.saved_model, ignore_errors=True)
    export.save(
        model,
        os.fspath(folder.saved_model),
        calibration=calibrate(model, config, data),
        score=config.score,
        warmup=data.sample if can_write_warmup() else None,
        provenance=provenance(data, result),
    )
    write_json(folder.metrics, result)
    return result


def provenance(data: PreparedData, result: Mapping[str, Any]) -> export.Provenance:
    """What the model card tells of a run.

    Args:
        data: what the model was trained on.
        result: `config`, and the metrics `validation` and `test`, as `train` returns
            them.

    Returns:
        `export.Provenance`.
    """
    config = result["config"]
    splits = {"train": data.train, "validation": data.validation, "test": data.test}
    return export.Provenance(
        data=f"{config['dataset']}: {datasets.get(config['dataset']).description}",
        fingerprint=data.train.fingerprint(),
        num_rows={name: len(rows) for name, rows in splits.items()},
        metrics={name: result[name] for name in ("validation", "test")},
        choices={n: v for n, v in config.items() if n not in FOLDERS},
    )


def _monitor(
    config: TrainConfig, folder: RunFolder, rows: Rows, model: keras.Model
) -> list[keras.callbacks.Callback]:
    if not config.monitor_every:
        return []
    probe = next(iter(rows.batches(min(_PROBE_ROWS, len(rows)))))
    kinds: list[type[callbacks.ConflictMonitor | callbacks.RoutingMonitor]]
    kinds = [callbacks.ConflictMonitor]
    if getattr(model, "router", None) is not None:
        kinds.append(callbacks.RoutingMonitor)
    return [
        kind(folder.logs / kind.stem, probe, every=config.monitor_every)
        for kind in kinds
    ]
