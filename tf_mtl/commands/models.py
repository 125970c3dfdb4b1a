"""List the architectures: seed or beyond, parameters, reference.

Example:
  tf-mtl models

*seed*: the papers of DRGrad or GradCraft name it. Parameters are those beside the
embedding tables, with default arguments, for 20 id features of width 16 and three
binary tasks.
"""

from absl import flags


def define_flags(values: flags.FlagValues) -> None:
    """Declares the options: none."""
    del values


def run(values: flags.FlagValues) -> None:
    """Prints the table."""
    del values
    from tf_mtl.models import catalogue

    print(catalogue.table())
