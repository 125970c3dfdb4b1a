"""Measure the latency of exported models, one relative to another.

Examples:
  tf-mtl bench serving
  tf-mtl bench serving --models=shared_bottom,mmoe,drgrad --output=serving.json
  tf-mtl bench serving --num_features=50 --embedding_dim=8 --expert_units=256,128

Each model (20 features with ids x 16, 4 experts 128-64, towers of 64, unless told
otherwise) is exported, and the function `serving_default` of the loaded SavedModel
answers batches of each size. The models take turns. Printed: the median time of a call
and the time that 99 of 100 calls do not exceed, each with its ratio to the first model.
"""

from absl import flags

from tf_mtl.benchmarks.defaults import SERVED_MODELS
from tf_mtl.benchmarks.sizes import Sizes
from tf_mtl.commands import options


def define_flags(values: flags.FlagValues) -> None:
    """Declares the options."""
    flags.DEFINE_list(
        "models",
        list(SERVED_MODELS),
        "Architectures; the first is the reference.",
        flag_values=values,
    )
    flags.DEFINE_list("batch_sizes", "1,512,2048", "Rows per call.", flag_values=values)
    flags.DEFINE_integer("num_tasks", 6, "Number of tasks.", flag_values=values)
    flags.DEFINE_integer(
        "vocabulary", 100_000, "Rows of all embedding tables.", flag_values=values
    )
    options.define(Sizes, values)
    flags.DEFINE_integer("rounds", 50, "Turns of each model.", flag_values=values)
    flags.DEFINE_integer("calls", 10, "Calls per turn.", flag_values=values)
    flags.DEFINE_string("output", None, "JSON file to write.", flag_values=values)


def run(values: flags.FlagValues) -> None:
    """Runs the benchmark."""
    sizes = options.read(Sizes, values)  # Wrong ones fail at once.
    from tf_mtl.benchmarks import results, serving
    from tf_mtl.benchmarks.workload import Workload

    rows = serving.run(
        Workload(values.num_tasks, values.vocabulary, sizes=sizes),
        values.models,
        [int(size) for size in values.batch_sizes],
        values.rounds,
        values.calls,
    )
    if values.output:
        results.write(rows, sizes, values.output)
        print(f"Wrote {values.output}.")
