r"""Shows which artifact of a pipeline was made from what.

Example:
  python -m pipelines.lineage --root=runs/pipelines/census_income
  python -m pipelines.lineage --root=runs/pipelines/census_income --run=3 \
      --output=lineage.png
"""

import contextlib
import pathlib
import sys
import time

from absl import flags

from pipelines.store import Execution, Run, Store
from tf_mtl import cli
from tf_mtl.files import replacing


def define_flags(values: flags.FlagValues) -> None:
    """Defines the options."""
    flags.DEFINE_string("root", None, "Folder of the runs.", flag_values=values)
    flags.DEFINE_integer(
        "run", None, "Number of a run; the newest.", flag_values=values
    )
    flags.DEFINE_string(
        "output", None, "Picture to draw: a .png or .svg file.", flag_values=values
    )


def run(values: flags.FlagValues) -> None:
    """Prints, and draws if a picture is asked for."""
    root = pathlib.Path(values.root or ".")
    if not (root / "store.sqlite").exists():
        raise FileNotFoundError(
            f"`root` must be the folder of runs. Received: root={values.root!r}, which "
            "holds no store.sqlite."
        )
    with contextlib.closing(Store(root)) as store:
        print(describe(store, values.run))
        if values.output:
            draw(store, pathlib.Path(values.output), values.run)


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

    Boxes stand in their order; an arrow goes down from what wrote an artifact, then
    right to what read it, with the name of the output. A dashed box is an execution of
    an earlier run.

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
    places = {execution.id: place for place, (execution, _) in enumerate(steps)}
    makers = {a: e.id for e, _ in steps for a in e.outputs.values()}
    picture = figure.Figure(figsize=(1.3 * len(steps), 0.7 * len(steps)))
    axes = picture.subplots()
    line = {"arrowstyle": "->", "color": "tab:blue", "shrinkA": 14, "shrinkB": 32}
    line["connectionstyle"] = "angle,angleA=90,angleB=0"
    for execution, is_earlier in steps:
        place = places[execution.id]
        read: dict[int, list[str]] = {}
        for artifact in store.inputs(execution.id).values():
            # What an earlier execution read itself is not in the picture.
            if artifact in makers:
                source = places[makers[artifact]]
                read.setdefault(source, []).append(artifact.output)
        for source, names in read.items():
            corner, text = (source + 0.05, -place + 0.05), "\n".join(names)
            axes.annotate("", (place, -place), (source, -source), arrowprops=line)
            axes.text(*corner, text, va="bottom", fontsize=6, color="tab:blue")
        style = "dashed" if is_earlier else "solid"
        box = {"boxstyle": "round", "facecolor": "white", "linestyle": style}
        text = f"{execution.component}\nrun {execution.run}"
        axes.text(place, -place, text, ha="center", va="center", fontsize=7, bbox=box)
    axes.set(xlim=(-0.6, len(steps) - 0.4), ylim=(0.6 - len(steps), 0.4))
    axes.axis("off")
    with replacing(path) as temporary:
        picture.savefig(temporary, bbox_inches="tight", dpi=150)


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


if __name__ == "__main__":
    module = sys.modules[__name__]
    sys.exit(cli.run_command(module, "pipelines.lineage", sys.argv[1:]))
