"""Export train steps to measure on a machine without TensorFlow, such as a GPU's.

Examples:
  tf-mtl bench hlo --out=runs/hlo
  tf-mtl bench hlo --out=runs/hlo --num_tasks=6 --batch_sizes=1024,16384
  tf-mtl bench hlo --out=runs/hlo --num_features=50 --embedding_dim=8 --num_experts=8
  python runs/hlo/run_hlo.py runs/hlo --platform=cuda --output=times.json

For each choice of options, the compiled train step of the model of `tf-mtl bench step`
is written as a StableHLO module, with its arguments and with the results of running it
here. The script run_hlo.py, written beside them, needs jaxlib alone: on any machine it
checks that the steps give the same results there, and measures them side by side.
A configuration of the default sizes takes half a minute, and 8 MB at 10,000 rows of
embedding tables, 34 MB at 100,000.
"""

from absl import flags

from tf_mtl.benchmarks.defaults import METHODS
from tf_mtl.benchmarks.sizes import Sizes
from tf_mtl.commands import options
from tf_mtl.option_text import split


def define_flags(values: flags.FlagValues) -> None:
    """Declares the options."""
    flags.DEFINE_string("out", None, "Folder to make.", flag_values=values)
    flags.DEFINE_list("num_tasks", "2,6,14", "Numbers of tasks.", flag_values=values)
    flags.DEFINE_string(
        "methods",
        ",".join(METHODS),
        "As in `bench step`; ew is the reference.",
        flag_values=values,
    )
    flags.DEFINE_string("models", "mmoe", "As in `bench step`.", flag_values=values)
    flags.DEFINE_list("batch_sizes", "4096", "Rows per step.", flag_values=values)
    flags.DEFINE_list(
        "vocabularies",
        "100000",
        "Rows of all embedding tables together.",
        flag_values=values,
    )
    options.define(Sizes, values)


def run(values: flags.FlagValues) -> None:
    """Runs the export."""
    if not values.out:
        raise ValueError("`out` must be given. Pass --out=FOLDER, a new folder.")
    sizes = options.read(Sizes, values)  # Wrong ones fail at once.
    import tensorflow as tf

    from tf_mtl.benchmarks import hlo
    from tf_mtl.benchmarks.methods import parse_methods
    from tf_mtl.benchmarks.workload import Workload

    methods = parse_methods(split(values.methods, ","))
    configurations = [
        hlo.Configuration(
            method, Workload(int(count), int(float(size)), int(batch), sizes), model
        )
        for count in values.num_tasks
        for batch in values.batch_sizes
        for size in values.vocabularies
        for model in split(values.models, ",")
        for method in methods
    ]
    # A function for each configuration looks like retracing to TensorFlow, which warns.
    tf.get_logger().setLevel("ERROR")
    hlo.export(configurations, values.out)
    print(f"Run: python {values.out}/run_hlo.py {values.out}")
