"""Settings of all tests."""

import os

# Half of the time of the tests went into machine code that is as fast as can be. XLA
# compiles the same programs at this level, only LLVM optimises them less. It must be
# set before TensorFlow is imported; processes that tests start inherit it.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
