r"""Compare variants over several seeds: mean, deviation, paired test.

Examples:
  tf-mtl compare --dataset=drgrad_conflict --output_dir=runs/drgrad \
      --variants='mmoe,split_mmoe,split_mmoe+router,drgrad w/o gate,drgrad'
  tf-mtl compare --manual_dir=census --output_dir=runs/methods --seeds=5 \
      --variants='mmoe|ew,mmoe|gradcraft,half=mmoe|gradcraft:parameters:tau=0.5'
  tf-mtl compare --dataset=drgrad_conflict --output_dir=runs/readings \
      --variants='drgrad,literal=drgrad:router={"reading": "literal"}'

A variant is written

  [NAME=][MODEL[:ARGUMENT=VALUE ...]][|METHOD[:SURFACE[:ARGUMENT=VALUE ...]]]

What it leaves out is as in the options below, and --model_args are arguments of all
models. Models are those of `train`, and the ablations `split_mmoe+router` and `drgrad
w/o gate`. The first variant is the reference of the others. A file gives them as JSON,
by name, with any choices of `train` that do not change the data:

  {"mmoe": {}, "slow": {"model": "drgrad", "learning_rate": 0.0003}}

With --grid, each variant is first trained with the first seed, or the first
--tuning_seeds, on all combinations of its values, and goes on with the one of the best
mean validation score:

  --grid='{"learning_rate": [0.0003, 0.001, 0.003], "dropout": [0, 0.3]}'

Written to --output_dir: runs/ with the choices and scores of each run, comparison.json,
comparison.md and comparison.png. Start a comparison that was stopped again: runs that
are finished are not done again, and more seeds or variants may be added. Seeds change
weights, dropout and the order of the rows, in the same way for all variants; the data
and the rows held out for validation stay the same.
"""

from absl import flags

from tf_mtl.commands import options
from tf_mtl.experiments.config import TrainConfig


def define_flags(values: flags.FlagValues) -> None:
    """Declares the options."""
    flags.DEFINE_string(
        "variants",
        None,
        "What is compared, separated by commas, or a JSON file; see above.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "seeds", 10, "Number of seeds, counted from --seed.", flag_values=values
    )
    options.define_json(
        "grid", {}, "What is tuned for each variant: lists of values by option.", values
    )
    flags.DEFINE_integer(
        "tuning_seeds", 1, "Seeds of each point of --grid.", flag_values=values
    )
    flags.DEFINE_string(
        "output_dir", None, "Folder for everything written.", flag_values=values
    )
    options.define(TrainConfig, values)
    # A variant that names no method is about its model alone.
    values.set_default("aggregator", "ew")


def run(values: flags.FlagValues) -> None:
    """Compares.

    Raises:
        ValueError: see `variants.parse_variants` and `comparison.compare`; or if there
            are no variants or no output folder.
    """
    for name, example in (("variants", "mmoe,drgrad"), ("output_dir", "runs/drgrad")):
        if not values[name].value:
            raise ValueError(f"`{name}` must be given: --{name}={example}.")
    config = options.read(TrainConfig, values)
    import tensorflow as tf

    from tf_mtl.experiments.comparison import compare
    from tf_mtl.experiments.summary import tables
    from tf_mtl.experiments.variants import parse_variants

    # A train step for each run looks like retracing to TensorFlow, which warns.
    tf.get_logger().setLevel("ERROR")
    variants = parse_variants(values.variants, config)
    rows = compare(
        variants, values.seeds, values.output_dir, values.grid, values.tuning_seeds
    )
    print(f"\n{tables(rows)}")
    print(f"Written to {values.output_dir}: comparison.json, .md and .png, runs/.")
