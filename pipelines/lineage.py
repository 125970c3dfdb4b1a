r"""Shows which artifact of a pipeline was made from what.

Example:
  python -m pipelines.lineage --root=runs/pipelines/census_income
  python -m pipelines.lineage --root=runs/pipelines/census_income --run=3 \
      --output=lineage.png
"""

import pathlib
import sys
import time
from collections.abc import Mapping, Sequence

from absl import app, flags

from pipelines.store import Artifact, Execution, Run, Store
from tf_mtl.files import replacing

_ROOT = flags.DEFINE_string("root", None, "Folder of the runs.", required=True)
_RUN = flags.DEFINE_integer("run", None, "Number of a run. Default: the newest.")
_OUTPUT = flags.DEFINE_string("output", None, "Picture to draw: a .png or .svg file.")


def describe(store: Store, number: int | None = None) -> str:
    """All runs, then each artifact of one with what it was made from.

    Args:
        store: the records.
        number: number of the run; None takes the newest.

    Raises:
        ValueError: if there is no such run.
    """
    chosen = _find_run(store, number)
    lines = [_describe_run(run) for run in store.runs()]
    lines += ["", f"Run {chosen.id}:"]
    for execution, cached in store.steps(chosen.id):
        seconds = (execution.finished or execution.started) - execution.started
        how = f"from run {execution.run}" if cached else f"{seconds:.1f} s"
        lines.append(f"  {execution.component} ({how})")
        lines += [
            f"    reads  {name}: {artifact.path} {artifact.fingerprint}"
            for name, artifact in store.inputs(execution.id).items()
        ]
        lines += [
            f"    writes {name}: {artifact.path} {artifact.fingerprint}"
            for name, artifact in execution.outputs.items()
        ]
    return "\n".join(lines)


def draw(store: Store, path: pathlib.Path, number: int | None = None) -> None:
    """Draws the components of a run and the artifacts that pass between them.

    An arrow is an artifact, named by the output. A dashed box is an execution of an
    earlier run.

    Args:
        store: the records.
        path: file to write, `.png` or `.svg`.
        number: number of the run; None takes the newest.

    Raises:
        ValueError: if there is no such run.
    """
    # Needed to draw only, and slow to import.
    from matplotlib import figure

    steps = _with_earlier(store, _find_run(store, number))
    makers = {a: e.id for e, _ in steps for a in e.outputs.values()}
    places = _places(store, steps, makers)
    height = 1 + max((y for _, y in places.values()), default=0)
    width = 1 + max((x for x, _ in places.values()), default=0)
    picture = figure.Figure(figsize=(2.4 * width, 1.1 * height))
    axes = picture.subplots()
    for execution, is_earlier in steps:
        x, y = places[execution.id]
        style = "dashed" if is_earlier else "solid"
        box = {"boxstyle": "round", "facecolor": "white", "linestyle": style}
        text = f"{execution.component}\nrun {execution.run}"
        axes.text(x, -y, text, ha="center", va="center", fontsize=8, bbox=box)
        for artifact in store.inputs(execution.id).values():
            # What an earlier execution read itself is not in the picture.
            if artifact not in makers:
                continue
            sx, sy = places[makers[artifact]]
            arrow = {"arrowstyle": "->", "color": "tab:blue", "shrinkA": 22}
            axes.annotate("", (x, -y + 0.2), (sx, -sy), arrowprops=arrow, zorder=0)
            middle = ((x + sx) / 2, -(y + sy) / 2)
            axes.text(*middle, artifact.output, fontsize=6, color="tab:blue")
    axes.set(xlim=(-0.6, width - 0.4), ylim=(0.5 - height, 0.5))
    axes.axis("off")
    with replacing(path) as temporary:
        picture.savefig(temporary, bbox_inches="tight", dpi=150)


def main(argv: Sequence[str]) -> int:
    """Prints, and draws if a picture is asked for."""
    if argv[1:]:
        raise app.UsageError(f"Options are written --name=value, not {argv[1:]}.")
    root = pathlib.Path(_ROOT.value)
    if not (root / "store.sqlite").exists():
        print(f"pipelines.lineage: error: no runs in {str(root)!r}.", file=sys.stderr)
        return 2
    store = Store(root)
    try:
        print(describe(store, _RUN.value))
        if _OUTPUT.value:
            draw(store, pathlib.Path(_OUTPUT.value), _RUN.value)
    except ValueError as error:
        print(f"pipelines.lineage: error: {error}", file=sys.stderr)
        return 2
    finally:
        store.close()
    return 0


def _describe_run(run: Run) -> str:
    started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run.started))
    reason = f": {run.reason}" if run.reason else ""
    return f"run {run.id}  {started}  {run.pipeline}  {run.state}{reason}"


def _find_run(store: Store, number: int | None) -> Run:
    runs = {run.id: run for run in store.runs()}
    chosen = max(runs, default=None) if number is None else number
    if chosen is None or chosen not in runs:
        raise ValueError(
            f"`run` must be the number of a run. Received: run={number}, known: "
            f"{sorted(runs)}."
        )
    return runs[chosen]


def _with_earlier(store: Store, run: Run) -> list[tuple[Execution, bool]]:
    """Executions that a run used, and before them those of earlier runs they read."""
    steps = [
        (execution, execution.run != run.id) for execution, _ in store.steps(run.id)
    ]
    known = {artifact for e, _ in steps for artifact in e.outputs.values()}
    earlier: dict[int, Execution] = {}
    for execution, _ in steps:
        for artifact in store.inputs(execution.id).values():
            if artifact not in known:
                maker = store.maker(artifact)
                earlier[maker.id] = maker
    return [*((execution, True) for execution in earlier.values()), *steps]


def _places(
    store: Store,
    steps: Sequence[tuple[Execution, bool]],
    makers: Mapping[Artifact, int],
) -> dict[int, tuple[int, int]]:
    """Column and row of each execution: after all that it reads, none on another."""
    columns: dict[int, int] = {}
    rows: dict[int, int] = {}
    places = {}
    for execution, _ in steps:
        read = store.inputs(execution.id).values()
        sources = [columns[makers[a]] for a in read if a in makers]
        column = 1 + max(sources, default=-1)
        columns[execution.id] = column
        places[execution.id] = (column, rows.get(column, 0))
        rows[column] = rows.get(column, 0) + 1
    return places


if __name__ == "__main__":
    app.run(main)
