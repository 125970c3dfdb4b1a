"""What goes wrong with a request, in the words of gRPC."""

import logging
from collections.abc import Callable
from typing import TypeVar

import grpc
import tensorflow as tf

# gRPC sends messages in a trailer, and clients refuse one of more than 8 KB. There a
# byte beyond ASCII takes three.
_MAX_MESSAGE_BYTES = 1000
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_logger = logging.getLogger(__name__)
_Answer = TypeVar("_Answer")


class RequestError(Exception):
    """A request that gets no answer.

    Args:
        code: status code.
        message: what is wrong.
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        cut = message.encode("utf-8", "replace")[:_MAX_MESSAGE_BYTES]
        self.message = cut.decode("utf-8", "ignore")

    def __reduce__(self) -> tuple[type, tuple[grpc.StatusCode, str]]:
        return RequestError, (self.code, str(self))


def invalid_argument(message: str) -> RequestError:
    """The error of a request that cannot be right."""
    return RequestError(grpc.StatusCode.INVALID_ARGUMENT, message)


def not_found(message: str) -> RequestError:
    """The error of a request for something that is not there."""
    return RequestError(grpc.StatusCode.NOT_FOUND, message)


def failed_precondition(message: str) -> RequestError:
    """The error of a request that this model cannot answer."""
    return RequestError(grpc.StatusCode.FAILED_PRECONDITION, message)


def from_tensorflow(error: tf.errors.OpError) -> RequestError:
    """The error of a graph that refused its inputs: TensorFlow counts codes as gRPC."""
    # What follows the first line names nodes of the graph.
    return RequestError(_CODES[error.error_code], str(error.message).split("\n")[0])


def guarded(function: Callable[[], _Answer]) -> _Answer:
    """Calls a function; what it raises is a `RequestError`.

    Raises:
        RequestError: that of the function, or INTERNAL, with the traceback in the log,
            for what is a defect of the server.
    """
    try:
        return function()
    except RequestError:
        raise
    except Exception as error:
        _logger.exception("A request failed.")
        message = f"{type(error).__name__}: {error}"
        raise RequestError(grpc.StatusCode.INTERNAL, message) from error
