"""TFX-style pipelines: from raw logs to a pushed model, one folder per example."""
