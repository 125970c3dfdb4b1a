"""Micro-batching: concurrent requests that the graph computes together."""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from tf_mtl.serving.tensors import TensorInfo

_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_NUM_THREADS = 2
_MAX_WAITING_BATCHES = 1000


@dataclasses.dataclass(frozen=True)
class Batching:
    """How requests are put together.

    Attributes:
        rows: int, most rows of a batch.
        wait_ms: float, time that a request waits for others, milliseconds.
    """

    rows: int
    wait_ms: float


def batched_outputs(
    graph: tf.Graph,
    inputs: Sequence[TensorInfo],
    outputs: Sequence[TensorInfo],
    batching: Batching,
) -> list[tf.Tensor] | None:
    """Adds to a graph the outputs of a signature for several requests at once.

    It is what `tf.nondifferentiable_batch_function` adds, around the function that the
    signature calls already, so that weights and tables are shared.

    Args:
        graph: of the SavedModel.
        inputs: of the signature.
        outputs: of the signature.
        batching: how many rows, and how long to wait for them.

    Returns:
        list of the outputs; None if the signature takes anything but one vector of
        strings, or is not one call of a function.
    """
    if len(inputs) != 1 or not inputs[0].is_string or inputs[0].shape.rank != 1:
        return None
    given = graph.get_tensor_by_name(inputs[0].tensor)
    tensors = [graph.get_tensor_by_name(info.tensor) for info in outputs]
    call = tensors[0].op
    if call.type not in _CALLS or any(t.op is not call for t in tensors):
        return None
    if call.inputs[0] is not given:
        return None
    with graph.as_default():
        batched = tf.raw_ops.BatchFunction(
            in_tensors=[given],
            captured_tensors=list(call.inputs[1:]),
            f=call.get_attr("f"),
            num_batch_threads=_NUM_THREADS,
            max_batch_size=batching.rows,
            batch_timeout_micros=int(batching.wait_ms * 1000),
            max_enqueued_batches=_MAX_WAITING_BATCHES,
            Tout=call.get_attr("Tout"),
        )
    return [batched[tensor.value_index] for tensor in tensors]
