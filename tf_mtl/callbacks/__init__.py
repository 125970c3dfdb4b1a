"""Callbacks: state of a run, speed, conflicts and routing of task gradients."""

from tf_mtl.callbacks.checkpoint import Checkpoint
from tf_mtl.callbacks.conflict_monitor import ConflictMonitor
from tf_mtl.callbacks.routing_monitor import RoutingMonitor
from tf_mtl.callbacks.throughput import Throughput

__all__ = ["Checkpoint", "ConflictMonitor", "RoutingMonitor", "Throughput"]
