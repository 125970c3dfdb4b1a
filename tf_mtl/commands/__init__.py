"""Sub-commands of `tf-mtl`, one per file.

The docstring of a file is its help text. `define_flags(values)` declares its options
and `run(values)` does the work. Nothing heavy is imported before `run`.
"""
