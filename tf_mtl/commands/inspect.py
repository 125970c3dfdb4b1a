"""Show signatures, sizes, tasks, metrics and versions of an exported model.

Examples:
  tf-mtl inspect saved_models/feed
  tf-mtl inspect runs/mmoe

The folder is that of a version, of versions (the newest is shown) or of a run. The
model is not loaded, and Keras is not needed.
"""

from absl import flags

# The option that may be given without its name.
ARGUMENT = "path"
_LARGEST = 10


def define_flags(values: flags.FlagValues) -> None:
    """Declares the options."""
    flags.DEFINE_string(
        "path", None, "Folder of a SavedModel or of a run.", flag_values=values
    )


def run(values: flags.FlagValues) -> None:
    """Prints what is there.

    Raises:
        ValueError: if no folder is given, or the model is damaged.
        FileNotFoundError: if there is no model.
    """
    if not values.path:
        raise ValueError("`path` must be given: tf-mtl inspect saved_models/feed.")
    from tf_mtl.experiments.tables import metrics_table, table
    from tf_mtl.export.inspection import Tensor, inspect

    found = inspect(values.path)
    info = found.info

    def tensor(name: str, each: Tensor) -> list[str]:
        sizes = ", ".join("?" if n is None else str(n) for n in each.shape or ())
        return [name, each.dtype, "?" if each.shape is None else f"({sizes})"]

    print(f"SavedModel {found.folder}")
    if found.versions:
        print(f"Versions: {', '.join(map(str, found.versions))}")
    if info:
        print(
            f"{info['architecture']}, made {info['created']} by tf_mtl "
            f"{info['tf_mtl_version']} with TensorFlow {info['tensorflow_version']}, "
            f"git revision {info['git_revision'] or 'unknown'}"
        )
    rows = [
        [name, kind, *tensor(*item)]
        for name, each in found.signatures.items()
        for kind, tensors in (("input", each.inputs), ("output", each.outputs))
        for item in tensors.items()
    ]
    print(f"\n{table(['signature', '', 'name', 'dtype', 'shape'], rows)}")
    if info:
        rows = [[t["name"], t["kind"], t["primary"]] for t in info["tasks"]]
        print(f"\n{table(['task', 'kind', 'primary'], rows)}")
        metrics = (info["provenance"] or {}).get("metrics", {})
        for split, by_task in metrics.items():
            print(f"\nMetrics, {split}:\n{metrics_table(by_task)}")
        if info["score"]:
            print(f"\nScore: {info['score']['formula']}, {info['score']['weights']}")
        if info["calibration"]:
            print(f"Calibration: {info['calibration']['method']}")
    total = sum(each.num_bytes for each in found.variables.values())
    print(f"\n{len(found.variables)} variables, {total:,} bytes; the largest:")
    largest = list(found.variables.items())[:_LARGEST]
    rows = [[*tensor(*item), f"{item[1].num_bytes:,}"] for item in largest]
    print(table(["variable", "dtype", "shape", "bytes"], rows))
    print(f"\n{len(found.files)} files, {sum(found.files.values()):,} bytes:")
    print(table(["file", "bytes"], [[n, f"{s:,}"] for n, s in found.files.items()]))
    print(f"\nWarm-up requests: {found.num_warmup_requests}")
