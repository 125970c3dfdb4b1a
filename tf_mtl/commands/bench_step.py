"""Measure the train step: methods x surfaces x tasks x vocabulary sizes.

Examples:
  tf-mtl bench step
  tf-mtl bench step --num_tasks=6 --vocabularies=10000,1000000 --output=step.json
  tf-mtl bench step --num_tasks=6 --vocabularies=10000 --methods=ew,all
  tf-mtl bench step --methods=ew,gradcraft:parameters:update_every=10
  tf-mtl bench step --methods=ew \
      --models=mmoe,split_mmoe,drgrad,drgrad:personal_gate=false

For each number of tasks and each vocabulary (rows of all embedding tables together),
one MMoE (20 features with ids x 16, 4 experts 128-64, towers of 64) runs the train
function of `fit` with equal weights, GradCraft and PCGrad on both surfaces; beside it
runs the same network of plain Keras layers with Keras' Adam. They take turns, and the
median of the turns is printed, with its ratio to equal weights; beside it the time to
compile, and the time that the method takes from the Gramian to the weights.
"""

from absl import flags

from tf_mtl.benchmarks.defaults import METHODS
from tf_mtl.option_text import split


def define_flags(values: flags.FlagValues) -> None:
    """Declares the options."""
    flags.DEFINE_list("num_tasks", "2,6,14", "Numbers of tasks.", flag_values=values)
    flags.DEFINE_list(
        "vocabularies",
        "10000,1000000,10000000",
        "Rows of all embedding tables together.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "methods",
        ",".join(METHODS),
        "`name`, `name:surface` or `name:surface:option=value`; `all` stands for every "
        "method on its surfaces. The first is the reference.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "models",
        "mmoe",
        "Architectures, `name` or `name:argument=value`, separated by commas; the "
        "first is the reference.",
        flag_values=values,
    )
    flags.DEFINE_integer("batch_size", 2048, "Rows per step.", flag_values=values)
    flags.DEFINE_integer("rounds", 15, "Turns of each method.", flag_values=values)
    flags.DEFINE_integer("calls", 4, "Steps per turn.", flag_values=values)
    flags.DEFINE_bool("jit", True, "Compile by XLA.", flag_values=values)
    flags.DEFINE_bool(
        "plain_keras", True, "Measure the plain Keras model too.", flag_values=values
    )
    flags.DEFINE_string("output", None, "JSON file to write.", flag_values=values)


def run(values: flags.FlagValues) -> None:
    """Runs the benchmark."""
    import tensorflow as tf

    from tf_mtl.benchmarks import methods, results, step

    # A function for each method looks like retracing to TensorFlow, which warns.
    tf.get_logger().setLevel("ERROR")

    methods.parse_methods(split(values.methods, ","))  # A wrong name fails at once.
    rows = step.run(
        [int(count) for count in values.num_tasks],
        [int(float(size)) for size in values.vocabularies],
        split(values.methods, ","),
        split(values.models, ","),
        values.batch_size,
        values.plain_keras,
        values.rounds,
        values.calls,
        values.jit,
    )
    print(step.summary(rows))
    if values.output:
        results.write(rows, values.output)
        print(f"Wrote {values.output}.")
