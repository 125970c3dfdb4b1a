"""Measure the train step: methods x surfaces x tasks x vocabulary sizes.

Examples:
  tf-mtl bench step
  tf-mtl bench step --num_tasks=6 --vocabularies=10000,1000000 --output=step.json
  tf-mtl bench step --num_tasks=6 --vocabularies=10000 --methods=ew,all --calls=50
  tf-mtl bench step --methods=ew,gradcraft:parameters:update_every=10 --calls=10
  tf-mtl bench step --methods=ew \
      --models=mmoe,split_mmoe,drgrad,drgrad:personal_gate=false
  tf-mtl bench step --num_tasks=2 --vocabularies=200000 --num_features=50 \
      --embedding_dim=8 --num_experts=8 --expert_units=256,128 --tower_units=128,64

For each number of tasks and each vocabulary (rows of all embedding tables together),
one MMoE (20 features with ids x 16, 4 experts 128-64, towers of 64, unless told
otherwise) runs the train function of `fit` with equal weights, GradCraft and PCGrad on
both surfaces; beside it runs the same network of plain Keras layers with Keras' Adam.
They take turns of some steps, after a few short epochs, and the median of the turns is
printed, with its ratio to equal weights; beside it the time to compile, and the time
that the method takes from the Gramian to the weights. What a method does more rarely
than in one of --calls steps does not show.
"""

from absl import flags

from tf_mtl.benchmarks.defaults import METHODS
from tf_mtl.benchmarks.sizes import Sizes
from tf_mtl.commands import options
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
    options.define(Sizes, values)
    flags.DEFINE_integer("rounds", 15, "Turns of each method.", flag_values=values)
    flags.DEFINE_integer(
        "calls",
        5,
        "Steps per turn. Choose a multiple of k for a method that does some work in "
        "every k-th step alone.",
        flag_values=values,
    )
    flags.DEFINE_bool("jit", True, "Compile by XLA.", flag_values=values)
    flags.DEFINE_bool(
        "plain_keras", True, "Measure the plain Keras model too.", flag_values=values
    )
    flags.DEFINE_string("output", None, "JSON file to write.", flag_values=values)


def run(values: flags.FlagValues) -> None:
    """Runs the benchmark."""
    sizes = options.read(Sizes, values)  # Wrong ones fail at once.
    import tensorflow as tf

    from tf_mtl.benchmarks import methods, results, step
    from tf_mtl.benchmarks.workload import Workload

    # A function for each method looks like retracing to TensorFlow, which warns.
    tf.get_logger().setLevel("ERROR")

    methods.parse_methods(split(values.methods, ","))  # A wrong name fails at once.
    workloads = [
        Workload(int(count), int(float(size)), values.batch_size, sizes)
        for count in values.num_tasks
        for size in values.vocabularies
    ]
    rows = step.run(
        workloads,
        split(values.methods, ","),
        split(values.models, ","),
        values.plain_keras,
        values.rounds,
        values.calls,
        values.jit,
    )
    print(step.summary(rows))
    if values.output:
        results.write(rows, sizes, values.output)
        print(f"Wrote {values.output}.")
