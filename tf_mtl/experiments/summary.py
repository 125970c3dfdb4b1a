"""Scores of several seeds: figures with paired tests, tables, a picture."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tf_mtl.experiments.tables import table

# Metrics that are compared, in the order of tables.
METRICS = ("auc", "log_loss", "rmse")

# By task and metric, see `metrics.evaluate_predictions`.
Scores = Mapping[str, Mapping[str, Any]]


@dataclasses.dataclass(frozen=True)
class Row:
    """One metric of one task and one variant, over all seeds.

    Attributes:
        metric: one of `METRICS`.
        task: name of the task.
        variant: name of the variant.
        values: the metric by seed; `None` where it does not exist.
        mean: mean of the values. `None`, as all that follows, if one of them is.
        std: standard deviation, of a sample; `None` for one seed.
        difference: mean minus that of the reference. `None`, as all that follows, if
            that does not exist.
        p_value: of the two-sided paired t-test against the reference, seed by seed.
            `None` for one seed, or if all values are the same, as of the reference.
        p_holm: the same, corrected after Holm for all tests of the metric.
    """

    metric: str
    task: str
    variant: str
    values: tuple[float | None, ...]
    mean: float | None = None
    std: float | None = None
    difference: float | None = None
    p_value: float | None = None
    p_holm: float | None = None


def summarise(scores: Mapping[str, Sequence[Scores]]) -> list[Row]:
    """Summarises the scores of all variants.

    Args:
        scores: by variant, the scores of each seed, seeds in the same order. The
            first variant is the reference.

    Returns:
        list of `Row`, by metric, task and variant.
    """
    first = next(iter(scores.values()))[0]
    rows: list[Row] = []
    for metric in METRICS:
        found: list[Row] = []
        for task in (task for task in first if metric in first[task]):
            values = {
                variant: tuple(each[task][metric] for each in by_seed)
                for variant, by_seed in scores.items()
            }
            reference = next(iter(values.values()))
            found += [
                _row(metric, task, variant, mine, reference)
                for variant, mine in values.items()
            ]
        rows += _corrected(found)
    return rows


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Corrects p-values for their number.

    Whoever calls those at most `alpha` significant makes any false claim with a
    probability of at most `alpha`, whatever the dependence of the tests.

    Args:
        p_values: p-values of a family of tests.

    Returns:
        float64 array of the same length: the k-th smallest of n values times
        `n + 1 - k`, but not less than those before it, and at most 1.

    Reference:
        Holm, A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian
        Journal of Statistics 6, 1979.
    """
    values = np.asarray(p_values, np.float64)
    order = np.argsort(values)
    scaled = values[order] * np.arange(len(values), 0, -1)
    corrected = np.empty_like(values)
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return corrected


def tables(rows: Sequence[Row]) -> str:
    """A table for each metric, with a line for each task and variant.

    Args:
        rows: what `summarise` returns.

    Returns:
        The lines, joined.
    """
    header = ["task", "variant", "mean", "std", "difference", "p", "p (Holm)"]
    parts = []
    for metric in dict.fromkeys(row.metric for row in rows):
        cells = [
            [
                row.task,
                row.variant,
                row.mean,
                row.std,
                None if row.difference is None else f"{row.difference:+.4f}",
                *(p if p is None else f"{p:.2g}" for p in (row.p_value, row.p_holm)),
            ]
            for row in rows
            if row.metric == metric
        ]
        parts.append(f"{metric}\n{table(header, cells)}")
    note = (
        f"difference: to {rows[0].variant}; p: paired t-test over {len(rows[0].values)}"
        " seeds; Holm: corrected for all tests of the metric."
    )
    return "\n\n".join([*parts, note])


def draw(rows: Sequence[Row], title: str, path: pathlib.Path) -> None:
    """Draws the first metric of each task: mean, standard deviation and each seed.

    Args:
        rows: what `summarise` returns.
        title: of the picture.
        path: PNG file to write.
    """
    # Slow to import, and needed once. The object interface needs no display.
    from matplotlib.figure import Figure

    by_task: dict[str, list[Row]] = {}
    for row in rows:  # By metric: the first of a task comes first.
        found = by_task.setdefault(row.task, [])
        if not found or found[0].metric == row.metric:
            found.append(row)
    height = 1.6 + 0.35 * len(next(iter(by_task.values())))
    figure = Figure(figsize=(1.5 + 4.0 * len(by_task), height), layout="constrained")
    panels = figure.subplots(1, len(by_task), squeeze=False, sharey=True)[0]
    for panel, (task, found) in zip(panels, by_task.items(), strict=True):
        for place, row in enumerate(found):
            seeds = [value for value in row.values if value is not None]
            panel.plot(seeds, [place] * len(seeds), ".", color="0.7", zorder=1)
            if row.mean is not None:
                panel.errorbar(
                    row.mean, place, xerr=row.std, fmt="o", capsize=4, color="C0"
                )
        panel.set_yticks(range(len(found)), [row.variant for row in found])
        panel.set(title=f"{task}: {found[0].metric}")
        panel.locator_params(axis="x", nbins=4)
        panel.grid(axis="x", color="0.9")
        # The reference at the top, as in the table.
        panel.set_ylim(len(found) - 0.5, -0.5)
    figure.suptitle(f"{title}: mean and standard deviation", fontsize="medium")
    figure.savefig(path, dpi=120)


def _row(
    metric: str,
    task: str,
    variant: str,
    values: tuple[float | None, ...],
    reference: tuple[float | None, ...],
) -> Row:
    row = Row(metric, task, variant, values)
    if None in values:
        return row
    mine = np.asarray(values, np.float64)
    std = float(mine.std(ddof=1)) if len(mine) > 1 else None
    row = dataclasses.replace(row, mean=float(mine.mean()), std=std)
    if None in reference:
        return row
    theirs = np.asarray(reference, np.float64)
    return dataclasses.replace(
        row,
        difference=float(np.mean(mine - theirs)),
        p_value=_p_value(mine, theirs),
    )


def _p_value(first: np.ndarray, second: np.ndarray) -> float | None:
    if len(first) < 2 or np.array_equal(first, second):
        return None
    # Slow to import.
    from scipy import stats

    return float(stats.ttest_rel(first, second).pvalue)


def _corrected(rows: Sequence[Row]) -> list[Row]:
    corrected = iter(holm([row.p_value for row in rows if row.p_value is not None]))
    return [
        row
        if row.p_value is None
        else dataclasses.replace(row, p_holm=float(next(corrected)))
        for row in rows
    ]
