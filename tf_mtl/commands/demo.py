"""Show the whole way in two minutes: train, compare, export, serve.

Example:
  tf-mtl demo --output_dir=runs/demo

Two tasks whose labels pull against each other are generated, and MMoE learns them
twice: with equal weights and with GradCraft. Printed: a table of test AUC, and
predictions of the exported model from a new process that knows TensorFlow alone.
Written to --output_dir: demo.png (AUC per task, cosine of the task gradients over the
steps) and the folders of both runs, as `tf-mtl train` writes them. An earlier demo in
the folder is replaced.
"""

from absl import flags


def define_flags(values: flags.FlagValues) -> None:
    """Declares the options."""
    flags.DEFINE_string(
        "output_dir", "runs/demo", "Folder for everything written.", flag_values=values
    )
    flags.DEFINE_integer("epochs", 5, "Passes over the rows.", flag_values=values)
    flags.DEFINE_integer("seed", 0, "Seed of both runs.", flag_values=values)


def run(values: flags.FlagValues) -> None:
    """Runs the demo."""
    from tf_mtl.experiments.config import TrainConfig
    from tf_mtl.experiments.demo import demo

    config = TrainConfig(
        dataset="drgrad_conflict",
        epochs=values.epochs,
        batch_size=1024,
        monitor_every=10,
        seed=values.seed,
        model_args={"expert_units": [64, 32], "tower_units": [16]},
    )
    demo(values.output_dir, config)
