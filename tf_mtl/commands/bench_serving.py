"""Measure the latency of exported models, one relative to another.

Examples:
  tf-mtl bench serving
  tf-mtl bench serving --models=shared_bottom,mmoe,drgrad --output=serving.json

Each model (20 features with ids x 16, 4 experts 128-64, towers of 64) is exported, and
the function `serving_default` of the loaded SavedModel answers batches of each size.
The models take turns. Printed: the median time of a call and the time that 99 of 100
calls do not exceed, each with its ratio to the first model.
"""

from absl import flags

from tf_mtl.benchmarks.defaults import SERVED_MODELS


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
    flags.DEFINE_integer("rounds", 50, "Turns of each model.", flag_values=values)
    flags.DEFINE_integer("calls", 10, "Calls per turn.", flag_values=values)
    flags.DEFINE_string("output", None, "JSON file to write.", flag_values=values)


def run(values: flags.FlagValues) -> None:
    """Runs the benchmark."""
    from tf_mtl import models
    from tf_mtl.benchmarks import results, serving

    for name in values.models:
        models.get(name)  # A wrong name fails before anything is measured.
    rows = serving.run(
        values.models,
        [int(size) for size in values.batch_sizes],
        values.num_tasks,
        values.vocabulary,
        values.rounds,
        values.calls,
    )
    if values.output:
        results.write(rows, values.output)
        print(f"Wrote {values.output}.")
