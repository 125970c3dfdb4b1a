"""Draw where each method ends on two losses with a known Pareto front.

Examples:
  tf-mtl bench pareto --output_dir=runs/pareto
  tf-mtl bench pareto --methods=ew,nash_mtl --output_dir=runs/pareto

The problem is the one of the CAGrad and Nash-MTL papers: two losses of two parameters,
in whose steep valleys the plain mean gets stuck. Adam runs along the direction of each
method from five starts. Writes `pareto.png`, one panel per method, and `pareto.json`.
"""

from absl import flags


def define_flags(values: flags.FlagValues) -> None:
    """Declares the options."""
    flags.DEFINE_list("methods", None, "Aggregators. Default: all.", flag_values=values)
    flags.DEFINE_integer("steps", 50_000, "Steps from each start.", flag_values=values)
    flags.DEFINE_float("learning_rate", 1e-3, "Of Adam.", flag_values=values)
    flags.DEFINE_string("output_dir", None, "Folder to write to.", flag_values=values)


def run(values: flags.FlagValues) -> None:
    """Runs the study."""
    from tf_mtl import aggregators
    from tf_mtl.benchmarks import pareto

    if not values.output_dir:
        raise ValueError("`output_dir` must be given: --output_dir=runs/pareto.")
    methods = values.methods or aggregators.names()
    for name in methods:
        aggregators.get_class(name)  # A wrong name fails before anything is run.
    epochs = 100
    runs = pareto.run(
        methods,
        epochs=epochs,
        steps_per_epoch=max(1, values.steps // epochs),
        learning_rate=values.learning_rate,
    )
    pareto.write(runs, values.output_dir)
    print(f"Wrote {values.output_dir}/pareto.png and pareto.json.")
