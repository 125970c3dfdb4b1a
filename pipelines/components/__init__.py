"""Components: one step of a pipeline per file.

A component declares what it reads and writes when it is made, which is cheap. What it
needs to do its work (TensorFlow, Beam) is imported in `execute`, so that a run that is
served from the cache loads none of it.
"""
