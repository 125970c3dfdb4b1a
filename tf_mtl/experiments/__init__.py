"""What the command line runs, importable: train, evaluate, describe, demo."""
