"""Runs: many training runs on the same rows, each finished once."""

import dataclasses
import datetime
import functools
import json
import multiprocessing
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

# XLA keeps each compiled step mapped in memory as long as the process lives, a large
# one in thousands of maps, and a process may have 65,530: thirty have crashed it.
_STEPS_PER_PROCESS = 8


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
    compiled train step; where there are many steps, a few at a time are compiled in a
    process of their own, which reads the data again. Each run keeps its epoch of the
    best validation score and looks at the test split once.

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
        groups = _groups([runs[i] for i in missing])
        done = 0
        for group in groups:
            if len(groups) == 1:
                self.train(group)
            else:
                _train_in_process(self.folder, self._shared, group, done, len(missing))
            done += len(group)
        return [json.loads(folder.metrics.read_text()) for folder in claimed]

    def train(
        self, runs: Sequence[Run], done: int = 0, total: int | None = None
    ) -> None:
        """Trains runs that are claimed, and writes their scores.

        Args:
            runs: what to do, in this order.
            done: int, runs that were done before these, for the progress.
            total: int, runs to do in all. None: these.
        """
        total = total or len(runs)
        started = time.perf_counter()
        for count, run in enumerate(runs, start=1):
            begun = time.perf_counter()
            result = self._train(run.config)
            write_json(self._place(run).metrics, result)
            now = time.perf_counter()
            left = (now - started) / count * (total - done - count)
            print(
                f"[{done + count}/{total}] {run.name}, seed {run.config.seed}: "
                f"{_scores(result['test'])}; best of {result['train']['epochs']} "
                f"epochs: {result['train']['best_epoch']}; {now - begun:.0f} s, "
                f"{datetime.timedelta(seconds=round(left))} left",
                flush=True,
            )

    def _place(self, run: Run) -> RunFolder:
        # Names hold what paths must not, such as the slash of "w/o".
        place = f"{urllib.parse.quote(run.name, safe='+= ')}-seed{run.config.seed}"
        return RunFolder(self.folder / place)

    def _claim(self, run: Run) -> RunFolder:
        folder = self._place(run)
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
        return prepare(dataclasses.replace(self._shared, seed=0))

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
        like = _step_key(config)
        if self._model is None or like != self._made_for:
            self._model, self._made_for = model, like
        else:
            self._model.copy_state(model)
        return self._model


def _step_key(config: TrainConfig) -> TrainConfig:
    """Equal for runs that can share one compiled train step."""
    return dataclasses.replace(config, seed=0)


def _groups(runs: Sequence[Run]) -> list[list[Run]]:
    """Cuts runs where a process would have compiled too many steps."""
    groups: list[list[Run]] = []
    steps = 0
    last = None
    for run in runs:
        key = _step_key(run.config)
        steps += key != last
        last = key
        if not groups or steps > _STEPS_PER_PROCESS:
            groups.append([])
            steps = 1
        groups[-1].append(run)
    return groups


def _train_in_process(*arguments: Any) -> None:
    """`_train_group` in a process of its own."""
    # A fork of a process that runs TensorFlow hangs.
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_train_group, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        raise ChildProcessError(
            f"Training ended with exit code {process.exitcode}; what it said is above. "
            "Runs that are finished are kept: start the comparison again."
        )


def _train_group(
    folder: pathlib.Path, shared: TrainConfig, runs: list[Run], done: int, total: int
) -> None:
    Runs(folder, shared).train(runs, done, total)


def _scores(found: Mapping[str, Mapping[str, Any]]) -> str:
    texts = []
    for task, by_metric in found.items():
        metric = next(name for name in METRICS if name in by_metric)
        value = by_metric[metric]
        texts.append(f"{task} {metric} {'-' if value is None else f'{value:.4f}'}")
    return ", ".join(texts)
