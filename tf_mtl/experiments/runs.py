"""Runs: many training runs on the same rows, each finished once."""

import dataclasses
import datetime
import functools
import json
import pathlib
import tempfile
import time
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras

from tf_mtl import models
from tf_mtl.experiments.config import TrainConfig
from tf_mtl.experiments.data import PreparedData, prepare
from tf_mtl.experiments.fitting import evaluate, fit_best, make_model
from tf_mtl.experiments.run_folder import RunFolder
from tf_mtl.experiments.summary import METRICS
from tf_mtl.files import write_json


class Run(NamedTuple):
    """One run.

    Attributes:
        name: string, the same for runs that differ in their seed alone.
        config: its choices.
    """

    name: str
    config: TrainConfig


class Runs:
    """Trains runs that share their data, and keeps their scores.

    Data are split, learned from and encoded once, with the rows that seed 0 holds out
    for validation. Runs that follow each other and differ in their seed alone share one
    compiled train step. Each keeps its epoch of the best validation score and looks at
    the test split once.

    Args:
        folder: for one folder `NAME-seedN` of each run: the choices and, last, the
            scores in `metrics.json`.
        shared: has the `SHARED_CHOICES` of all runs.
    """

    def __init__(self, folder: pathlib.Path, shared: TrainConfig) -> None:
        self.folder = folder
        self._shared = shared
        self._model: models.MultiTaskModel | None = None
        self._made_for: TrainConfig | None = None

    def results(self, runs: Sequence[Run]) -> list[dict[str, Any]]:
        """Does the runs that are not finished.

        Args:
            runs: what to do, in this order.

        Returns:
            list of dicts, the content of `metrics.json` of each run.

        Raises:
            FileNotFoundError: if a source file of the data set is missing.
            ValueError: if a finished run has other choices, a model refuses its
                arguments, or the data do not fit.
        """
        # All are claimed before any is trained: a finished one with other choices,
        # which must not be mixed with new ones, is refused at once.
        claimed = [self._claim(run) for run in runs]
        missing = [i for i, folder in enumerate(claimed) if folder.finished() is None]
        if missing:
            print(f"{len(missing)} of {len(runs)} runs to do.", flush=True)
            self._check_arguments([runs[i] for i in missing])
        started = time.perf_counter()
        for count, i in enumerate(missing, start=1):
            begun = time.perf_counter()
            result = self._train(runs[i].config)
            write_json(claimed[i].metrics, result)
            now = time.perf_counter()
            left = (now - started) / count * (len(missing) - count)
            print(
                f"[{count}/{len(missing)}] {runs[i].name}, seed {runs[i].config.seed}: "
                f"{_scores(result['test'])}; best of {result['train']['epochs']} "
                f"epochs: {result['train']['best_epoch']}; {now - begun:.0f} s, "
                f"{datetime.timedelta(seconds=round(left))} left",
                flush=True,
            )
        return [json.loads(folder.metrics.read_text()) for folder in claimed]

    def _claim(self, run: Run) -> RunFolder:
        # Names hold what paths must not, such as the slash of "w/o".
        place = f"{urllib.parse.quote(run.name, safe='+= ')}-seed{run.config.seed}"
        folder = RunFolder(self.folder / place)
        done = folder.finished() is not None
        folder.start(run.config, resume=done, overwrite=not done)
        return folder

    def _check_arguments(self, runs: Sequence[Run]) -> None:
        """Refuses what models refuse, before hours of training."""
        for name, config in {run.name: run.config for run in runs}.items():
            try:
                make_model(config, self._data)
            except (TypeError, ValueError) as error:
                raise ValueError(f"Variant {name!r}: {error}") from error

    @functools.cached_property
    def _data(self) -> PreparedData:
        return _with_primary(prepare(dataclasses.replace(self._shared, seed=0)))

    def _train(self, config: TrainConfig) -> dict[str, Any]:
        data, model = self._data, self._fresh_model(config)
        with tempfile.TemporaryDirectory() as folder:
            checkpoint = fit_best(model, config, data, folder)
        return {
            "test": evaluate(model, data.tasks, data.test),
            "train": {
                "epochs": len(checkpoint.history),
                "best_epoch": checkpoint.best_epoch,
                "best_score": max(checkpoint.scores),
                "history": checkpoint.history,
            },
            "config": dataclasses.asdict(config),
        }

    def _fresh_model(self, config: TrainConfig) -> models.MultiTaskModel:
        """A model in its first state, with a train step that is compiled already."""
        keras.utils.set_random_seed(config.seed)
        model = make_model(config, self._data)
        like = dataclasses.replace(config, seed=0)
        if self._model is None or like != self._made_for:
            self._model, self._made_for = model, like
        else:
            self._model.copy_state(model)
        return self._model


def _with_primary(data: PreparedData) -> PreparedData:
    """Makes the main task, which comes first, primary if none is."""
    if any(task.primary for task in data.tasks):
        return data
    main, *others = data.tasks
    return dataclasses.replace(
        data, tasks=[dataclasses.replace(main, primary=True), *others]
    )


def _scores(found: Mapping[str, Mapping[str, Any]]) -> str:
    texts = []
    for task, by_metric in found.items():
        metric = next(name for name in METRICS if name in by_metric)
        value = by_metric[metric]
        texts.append(f"{task} {metric} {'-' if value is None else f'{value:.4f}'}")
    return ", ".join(texts)
