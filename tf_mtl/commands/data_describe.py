"""Print columns, rows, label means and label correlations of a data set.

Examples:
  tf-mtl data describe
  tf-mtl data describe --dataset=drgrad_conflict
  tf-mtl data describe --dataset=census_income --manual_dir=census

Without --dataset, the known data sets are listed. Nothing is written, but for the
prepared data that make the next reading fast.
"""

from absl import flags


def define_flags(values: flags.FlagValues) -> None:
    """Declares the options."""
    for name, text in (
        ("dataset", "Data set by name."),
        ("manual_dir", "Folder with its source files, where it has some."),
        ("data_dir", "Folder for prepared data; without it, that of TFDS."),
    ):
        flags.DEFINE_string(name, None, text, flag_values=values)


def run(values: flags.FlagValues) -> None:
    """Prints the description."""
    from tf_mtl import datasets
    from tf_mtl.experiments.description import describe

    if not values.dataset:
        for name in datasets.names():
            print(f"{name}\n    {datasets.get(name).description}")
        return
    print(describe(datasets.get(values.dataset), values.manual_dir, values.data_dir))
