"""List the methods that balance tasks: kind, state, cost, reference.

Examples:
  tf-mtl methods
  tf-mtl methods --kind=gramian

`state` is what a method keeps between steps, with its size in tasks (T) or parameters
(P); `cost` is what a step takes beyond equal weights with its one backward pass.
"""

from absl import flags


def define_flags(values: flags.FlagValues) -> None:
    """Declares the options."""
    flags.DEFINE_enum(
        "kind",
        None,
        ["loss", "gramian", "rows"],
        "What the method looks at. Default: all.",
        flag_values=values,
    )


def run(values: flags.FlagValues) -> None:
    """Prints the table."""
    from tf_mtl.aggregators import catalogue

    print(catalogue.table(values.kind))
