"""Trains variants over several seeds and compares them in one table."""

import dataclasses
import itertools
import os
import pathlib
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tf_mtl.experiments.config import TrainConfig
from tf_mtl.experiments.runs import Run, Runs
from tf_mtl.experiments.summary import Row, draw, summarise, tables
from tf_mtl.experiments.tables import table
from tf_mtl.experiments.variants import SHARED_CHOICES, check_changes
from tf_mtl.files import replacing, write_json, write_text

# The choices to try for each variant: values by field of `TrainConfig`.
Grid = Mapping[str, Sequence[Any]]


def compare(
    variants: Mapping[str, TrainConfig],
    num_seeds: int,
    output_dir: str | os.PathLike[str],
    grid: Grid | None = None,
    num_tuning_seeds: int = 1,
) -> list[Row]:
    """Trains each variant with each seed, and compares their scores on the test split.

    Data are split, learned from and encoded once for all runs, with the rows that seed
    0 holds out for validation. A seed sets weights, dropout and the order of the
    training rows; the order is the same for all variants, so runs are paired by seed.
    Each run keeps its epoch of the best validation score, as `training.train` does, and
    looks at the test split once.

    With a `grid`, each variant is first trained with the first seeds on every point of
    it, and goes on with the point of the best mean validation score: all variants get
    the same budget of tuning.

    Written to `output_dir`: `runs/VARIANT-seedN/`, with the choices and, last, the
    scores in `metrics.json`; then `comparison.json`, `comparison.md` and
    `comparison.png`. Runs that are finished are not done again.

    Args:
        variants: choices by name. The first is the reference of all others. They have
            the same `SHARED_CHOICES`; `seed` is the first of the seeds.
        num_seeds: int, the number of seeds.
        output_dir: folder for everything that is written.
        grid: values to try by field of `TrainConfig`, in all combinations, such as
            `{"learning_rate": [0.0003, 0.001, 0.003]}`; arguments of models and of
            aggregators are added to those of the variant. None: variants are as given.
        num_tuning_seeds: int, with how many seeds each point of the grid is tried. One
            seed cannot tell points that differ by less than seeds do.

    Returns:
        list of `Row`, by metric, task and variant.

    Raises:
        FileNotFoundError: if a source file of the data set is missing.
        ValueError: if an argument is outside its range, a finished run in the folder
            has other choices, or the data do not fit.
    """
    _check(variants, num_seeds, num_tuning_seeds)
    first = next(iter(variants.values()))
    folder = pathlib.Path(output_dir).expanduser()
    _check_grid(grid or {})
    candidates = {name: _points(name, c, grid or {}) for name, c in variants.items()}
    runs = Runs(folder / "runs", first)
    seeds = range(first.seed, first.seed + num_seeds)
    scores = {}
    if grid:
        tried = [run for points in candidates.values() for run in points]
        tuning_seeds = range(first.seed, first.seed + num_tuning_seeds)
        results = runs.results(_with_seeds(tried, tuning_seeds))
        best = [result["train"]["best_score"] for result in results]
        for i, run in enumerate(tried):
            mine = best[i * num_tuning_seeds : (i + 1) * num_tuning_seeds]
            scores[run.name] = statistics.fmean(mine)
    chosen = {
        name: max(points, key=lambda run: scores.get(run.name, 0.0))
        for name, points in candidates.items()
    }
    results = runs.results(_with_seeds(chosen.values(), seeds))
    tests = [result["test"] for result in results]
    rows = summarise(
        {
            name: tests[i * num_seeds : (i + 1) * num_seeds]
            for i, name in enumerate(chosen)
        }
    )
    title = f"{first.dataset}, test split, seeds {seeds[0]} to {seeds[-1]}"
    write_json(
        folder / "comparison.json",
        {
            "seeds": num_seeds,
            "variants": {n: dataclasses.asdict(r.config) for n, r in chosen.items()},
            "grid": dict(grid or {}),
            "tuning_seeds": num_tuning_seeds,
            "validation_scores": scores,
            "rows": [dataclasses.asdict(row) for row in rows],
        },
    )
    text = "\n\n".join([title, *_choices(candidates, chosen, scores), tables(rows)])
    write_text(folder / "comparison.md", f"```\n{text}\n```\n")
    with replacing(folder / "comparison.png") as temporary:
        draw(rows, title, temporary)
    return rows


def _check(
    variants: Mapping[str, TrainConfig], num_seeds: int, num_tuning_seeds: int
) -> None:
    if not variants or num_seeds < 1:
        raise ValueError(
            "`variants` and `num_seeds` must not be empty. Received: "
            f"variants={list(variants)}, num_seeds={num_seeds}."
        )
    if num_tuning_seeds < 1:
        raise ValueError(
            "`num_tuning_seeds` must be at least 1. Received: "
            f"num_tuning_seeds={num_tuning_seeds}."
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


def _check_grid(grid: Grid) -> None:
    check_changes("grid", grid)
    named = sorted({"model", "aggregator"} & grid.keys())
    if named:
        raise ValueError(
            "`grid` tunes a variant, and must not make another one of it. Received: "
            f"values of {named}. Write a variant for each."
        )
    lists = [values for values in grid.values() if isinstance(values, (list, tuple))]
    if len(lists) < len(grid) or not all(lists):
        raise ValueError(
            "`grid` must have a list of values to try for each field. "
            f"Received: {dict(grid)}."
        )


def _points(name: str, config: TrainConfig, grid: Grid) -> list[Run]:
    """The points of the grid for one variant; it alone if there is no grid."""
    runs = []
    for values in itertools.product(*grid.values()):
        label = [name]
        changes: dict[str, Any] = {}
        for key, value in zip(grid, values, strict=True):
            label.append(f"{key}={value}")
            # Arguments are added to those that make the variant.
            old = getattr(config, key)
            changes[key] = {**old, **value} if isinstance(old, dict) else value
        runs.append(Run(" ".join(label), dataclasses.replace(config, **changes)))
    return runs


def _with_seeds(runs: Iterable[Run], seeds: Iterable[int]) -> list[Run]:
    return [
        run._replace(config=dataclasses.replace(run.config, seed=seed))
        for run in runs
        for seed in seeds
    ]


def _choices(
    candidates: Mapping[str, Sequence[Run]],
    chosen: Mapping[str, Run],
    scores: Mapping[str, float],
) -> list[str]:
    """A table of what was tried, if anything was."""
    if not scores:
        return []
    header = ["tried", "mean validation score", "chosen"]
    rows = [
        [run.name, scores[run.name], "yes" if run == chosen[name] else ""]
        for name, runs in candidates.items()
        for run in runs
    ]
    return [table(header, rows)]
