"""Trains variants over several seeds and compares them in one table."""

import dataclasses
import datetime
import json
import os
import pathlib
import tempfile
import time
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from tf_mtl import callbacks, metrics
from tf_mtl.experiments.config import TrainConfig
from tf_mtl.experiments.data import PreparedData, prepare
from tf_mtl.experiments.run_folder import RunFolder
from tf_mtl.experiments.summary import METRICS, Row, draw, summarise, tables
from tf_mtl.experiments.training import make_model, validation_score
from tf_mtl.experiments.variants import SHARED_CHOICES
from tf_mtl.files import replacing, write_json, write_text

# Rows per batch of an evaluation.
_EVALUATION_BATCH = 4096


def compare(
    variants: Mapping[str, TrainConfig],
    num_seeds: int,
    output_dir: str | os.PathLike[str],
) -> list[Row]:
    """Trains each variant with each seed, and compares their scores on the test split.

    Data are split, learned from and encoded once for all runs, with the rows that seed
    0 holds out for validation. A seed sets weights, dropout and the order of the
    training rows; the order is the same for all variants, so runs are paired by seed.
    Each run keeps its epoch of the best validation score, as `training.train` does, and
    looks at the test split once.

    Written to `output_dir`: `runs/VARIANT-seedN/`, with the choices and, last, the
    scores in `metrics.json`; then `comparison.json`, `comparison.md` and
    `comparison.png`. Runs that are finished are not done again.

    Args:
        variants: choices by name. The first is the reference of all others. They have
            the same `SHARED_CHOICES`; `seed` is the first of the seeds.
        num_seeds: int, the number of seeds.
        output_dir: folder for everything that is written.

    Returns:
        list of `Row`, by metric, task and variant.

    Raises:
        FileNotFoundError: if a source file of the data set is missing.
        ValueError: if an argument is outside its range, a finished run in the folder
            has other choices, or the data do not fit.
    """
    _check(variants, num_seeds)
    folder = pathlib.Path(output_dir).expanduser()
    runs = [
        (name, dataclasses.replace(config, seed=config.seed + i))
        for i in range(num_seeds)
        for name, config in variants.items()
    ]
    # All are claimed before any is trained: a finished one with other choices, which
    # must not be mixed with new ones, is refused at once.
    claimed = [_claim(folder, name, config) for name, config in runs]
    if any(run.finished() is None for run in claimed):
        _run_missing(runs, claimed)
    scores: dict[str, list[dict[str, Any]]] = {name: [] for name in variants}
    for (name, _), run in zip(runs, claimed, strict=True):
        scores[name].append(json.loads(run.metrics.read_text())["test"])
    rows = summarise(scores)
    first = next(iter(variants.values()))
    title = f"{first.dataset}, test split, seeds {first.seed} to {runs[-1][1].seed}"
    write_json(
        folder / "comparison.json",
        {
            "seeds": num_seeds,
            "variants": {n: dataclasses.asdict(c) for n, c in variants.items()},
            "rows": [dataclasses.asdict(row) for row in rows],
        },
    )
    write_text(folder / "comparison.md", f"```\n{title}\n\n{tables(rows)}\n```\n")
    with replacing(folder / "comparison.png") as temporary:
        draw(rows, title, temporary)
    return rows


def _check(variants: Mapping[str, TrainConfig], num_seeds: int) -> None:
    if not variants or num_seeds < 1:
        raise ValueError(
            "`variants` and `num_seeds` must not be empty. Received: "
            f"variants={list(variants)}, num_seeds={num_seeds}."
        )
    for choice in SHARED_CHOICES:
        values = {name: getattr(c, choice) for name, c in variants.items()}
        if len(set(values.values())) > 1:
            raise ValueError(f"`variants` must share {choice!r}. Received: {values}.")
    monitored = [name for name, config in variants.items() if config.monitor_every]
    if monitored:
        raise ValueError(
            "`monitor_every` must be 0 in a comparison. Received: another value for "
            f"{monitored}. Look at the gradients of one run with `tf-mtl train`."
        )


def _claim(folder: pathlib.Path, name: str, config: TrainConfig) -> RunFolder:
    # Names hold what paths must not, such as the slash of "w/o".
    place = f"{urllib.parse.quote(name, safe='+')}-seed{config.seed}"
    run = RunFolder(folder / "runs" / place)
    done = run.finished() is not None
    run.start(config, resume=done, overwrite=not done)
    return run


def _run_missing(
    runs: Sequence[tuple[str, TrainConfig]], claimed: Sequence[RunFolder]
) -> None:
    data = _with_primary(prepare(dataclasses.replace(runs[0][1], seed=0)))
    missing = [i for i, run in enumerate(claimed) if run.finished() is None]
    for name, config in {runs[i][0]: runs[i][1] for i in missing}.items():
        try:  # Arguments that the model refuses, before hours of training.
            make_model(config, data, steps_per_epoch=1)
        except (TypeError, ValueError) as error:
            raise ValueError(f"Variant {name!r}: {error}") from error
    started = time.perf_counter()
    print(f"{len(missing)} of {len(runs)} runs to do.", flush=True)
    for count, i in enumerate(missing, start=1):
        name, config = runs[i]
        begun = time.perf_counter()
        result = _train(config, data)
        write_json(claimed[i].metrics, result)
        now = time.perf_counter()
        left = (now - started) / count * (len(missing) - count)
        print(
            f"[{count}/{len(missing)}] {name}, seed {config.seed}: "
            f"{_scores(result['test'])}; best of {result['train']['epochs']} epochs: "
            f"{result['train']['best_epoch']}; {now - begun:.0f} s, "
            f"{datetime.timedelta(seconds=round(left))} left",
            flush=True,
        )


def _with_primary(data: PreparedData) -> PreparedData:
    """Makes the main task, which comes first, primary if none is."""
    if any(task.primary for task in data.tasks):
        return data
    main, *others = data.tasks
    return dataclasses.replace(
        data, tasks=[dataclasses.replace(main, primary=True), *others]
    )


def _train(config: TrainConfig, data: PreparedData) -> dict[str, Any]:
    # Dozens of models and their compiled steps would fill the memory.
    keras.utils.clear_session()
    keras.utils.set_random_seed(config.seed)
    batch_size = min(config.batch_size, len(data.train))
    steps = len(data.train) // batch_size
    model = make_model(config, data, steps)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = callbacks.Checkpoint(
            folder,
            score=lambda logs: validation_score(data.tasks, logs),
            patience=config.patience,
        )
        rows = data.train.batches(batch_size, config.seed, drop_remainder=True)
        model.fit(
            rows.repeat(),
            steps_per_epoch=steps,
            epochs=config.epochs,
            shuffle=False,
            validation_data=data.validation.batches(_EVALUATION_BATCH),
            callbacks=[checkpoint],
            verbose=0,
        )
        checkpoint.restore_best(model)
    inputs = data.test.batches(_EVALUATION_BATCH).map(lambda x, _: x)
    predictions = model.predict(inputs, verbose=0)
    return {
        "test": metrics.evaluate_predictions(data.tasks, data.test.labels, predictions),
        "train": {
            "epochs": len(checkpoint.history),
            "best_epoch": checkpoint.best_epoch,
            "history": checkpoint.history,
        },
        "config": dataclasses.asdict(config),
    }


def _scores(found: Mapping[str, Mapping[str, Any]]) -> str:
    texts = []
    for task, by_metric in found.items():
        metric = next(name for name in METRICS if name in by_metric)
        value = by_metric[metric]
        texts.append(f"{task} {metric} {'-' if value is None else f'{value:.4f}'}")
    return ", ".join(texts)
