"""Callbacks: state of a run, speed, conflicts of task gradients."""

from tf_mtl.callbacks.checkpoint import Checkpoint
from tf_mtl.callbacks.conflict_monitor import ConflictMonitor
from tf_mtl.callbacks.throughput import Throughput

__all__ = ["Checkpoint", "ConflictMonitor", "Throughput"]
