"""Train a multi-task model, evaluate it on the test split and export it.

Example:
  tf-mtl train --dataset=census_income --manual_dir=census --output_dir=runs/mmoe

Written to --output_dir:

  metrics.json    exact AUC and log loss per task, history, rows per second, choices;
                  written last: a folder without it holds a run that was stopped
  saved_model/1   the model with its preprocessing, for TensorFlow Serving; with
                  --calibration, learned from the rows held out, and --score
  checkpoints/    weights, optimizer, aggregator and seeds of the last and best epoch
  logs/           TensorBoard events: `tensorboard --logdir=OUT/logs`
  config.json     the choices below

The epoch with the best mean validation AUC is kept; the test split is looked at once,
at the end. A run that was stopped goes on with --resume and gives the same numbers as
one that was not.
"""

from absl import flags

from tf_mtl.commands import options
from tf_mtl.experiments.config import TrainConfig
from tf_mtl.experiments.tables import metrics_table


def define_flags(values: flags.FlagValues) -> None:
    """Declares the options."""
    flags.DEFINE_string(
        "output_dir", None, "Folder for everything written.", flag_values=values
    )
    flags.DEFINE_bool(
        "resume", False, "Go on with a run that was stopped.", flag_values=values
    )
    flags.DEFINE_bool(
        "overwrite", False, "Delete an earlier run in the folder.", flag_values=values
    )
    options.define(TrainConfig, values)


def run(values: flags.FlagValues) -> None:
    """Trains.

    Raises:
        ValueError: see `training.train`; or if there is no output folder.
    """
    if not values.output_dir:
        raise ValueError("`output_dir` must be given: --output_dir=runs/first.")
    config = options.read(TrainConfig, values)
    from tf_mtl.experiments import training

    result = training.train(
        config, values.output_dir, resume=values.resume, overwrite=values.overwrite
    )
    print(f"\nBest epoch {result['train']['best_epoch']}, test split:")
    print(metrics_table(result["test"]))
    print(f"Written to {values.output_dir}: metrics.json, saved_model/1, logs.")
