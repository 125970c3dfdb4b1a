"""Load tests: what a server of TensorFlow Serving's protocols answers, and how fast."""
