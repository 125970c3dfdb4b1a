"""Measure every architecture next to Shared-Bottom of the same size.

Examples:
  tf-mtl bench models
  tf-mtl bench models --models=mmoe,ple --output=models.json
  tf-mtl bench models --num_features=50 --embedding_dim=8 --expert_units=256,128

For each architecture (20 features with ids x 16, 4 experts 128-64, towers of 64, unless
told otherwise, as far as it has such sizes) a Shared-Bottom model with about the same
number of parameters takes turns with it. Printed: time of a train step with equal
weights, and of a call of the exported model, medians of the means of the turns, with
their ratios to Shared-Bottom.
"""

from absl import flags

from tf_mtl.benchmarks.sizes import Sizes
from tf_mtl.commands import options


def define_flags(values: flags.FlagValues) -> None:
    """Declares the options."""
    flags.DEFINE_list(
        "models", None, "Architectures. Default: all.", flag_values=values
    )
    flags.DEFINE_integer("num_tasks", 6, "Number of tasks.", flag_values=values)
    flags.DEFINE_integer(
        "vocabulary", 100_000, "Rows of all embedding tables.", flag_values=values
    )
    flags.DEFINE_integer("batch_size", 2048, "Rows per step.", flag_values=values)
    options.define(Sizes, values)
    flags.DEFINE_integer("rounds", 15, "Turns of each model.", flag_values=values)
    flags.DEFINE_integer("calls", 4, "Calls per turn.", flag_values=values)
    flags.DEFINE_string("output", None, "JSON file to write.", flag_values=values)


def run(values: flags.FlagValues) -> None:
    """Runs the benchmark."""
    sizes = options.read(Sizes, values)  # Wrong ones fail at once.
    from tf_mtl.benchmarks import architectures, results
    from tf_mtl.benchmarks.workload import Workload

    workload = Workload(values.num_tasks, values.vocabulary, values.batch_size, sizes)
    rows = architectures.run(workload, values.models, values.rounds, values.calls)
    if values.output:
        results.write(rows, sizes, values.output)
        print(f"Wrote {values.output}.")
