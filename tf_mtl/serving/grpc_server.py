"""The gRPC side of a server: TensorFlow Serving's services and the health service."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence

import grpc
from grpc_health.v1 import health, health_pb2_grpc

from tf_mtl.serving.admission import Admission
from tf_mtl.serving.errors import RequestError, internal
from tf_mtl.serving.methods import Method

_logger = logging.getLogger(__name__)
_Handler = Callable[[bytes, grpc.aio.ServicerContext], Awaitable[bytes]]


def make_server(
    methods: Sequence[Method], admission: Admission, max_message_bytes: int
) -> tuple[grpc.aio.Server, health.aio.HealthServicer]:
    """Makes a gRPC server that has no port yet.

    Requests are parsed in the threads that compute, so that the event loop only passes
    bytes on, and one that cannot be parsed is the client's error (INVALID_ARGUMENT).

    Args:
        methods: what it answers.
        admission: when.
        max_message_bytes: int. Largest request.

    Returns:
        The server and its health service.
    """
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.max_send_message_length", -1),
            # A second server on the same port is an error, not a partner.
            ("grpc.so_reuseport", 0),
        ]
    )
    for service in dict.fromkeys(method.service for method in methods):
        handlers = {
            method.name: grpc.unary_unary_rpc_method_handler(
                _handler(method, admission)
            )
            for method in methods
            if method.service == service
        }
        server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(service, handlers)]
        )
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    return server, servicer


def services(methods: Iterable[Method]) -> list[str]:
    """Names that the health service knows: that of the server, and of the services."""
    return ["", *dict.fromkeys(method.service for method in methods)]


def _handler(method: Method, admission: Admission) -> _Handler:
    async def handle(data: bytes, context: grpc.aio.ServicerContext) -> bytes:
        try:
            if method.computes:
                return await admission.run(
                    lambda: method.call_bytes(data), context.time_remaining()
                )
            # Operators must get through to a server that is busy.
            return await asyncio.to_thread(method.call_bytes, data)
        except RequestError as error:
            failure = error
        except Exception as error:
            _logger.exception("%s failed.", method.name)
            failure = internal(error)
        # It raises.
        return await context.abort(failure.code, failure.message)

    return handle
