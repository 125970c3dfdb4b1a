"""What benchmarks measure unless told otherwise. Imports nothing heavy."""

# The first one is what the others are held against.
METHODS = (
    "ew",
    "gradcraft",
    "gradcraft:representation",
    "pcgrad",
    "pcgrad:representation",
)

# The first one is what the others are held against.
SERVED_MODELS = ("mmoe", "split_mmoe", "drgrad")
