"""The gRPC side of a server: TensorFlow Serving's services and the health service."""

import pathlib
from collections.abc import Awaitable, Callable, Iterable, Sequence

import grpc
from grpc_health.v1 import health, health_pb2_grpc

from tf_mtl.serving.admission import Admission
from tf_mtl.serving.config import ServerConfig
from tf_mtl.serving.errors import RequestError
from tf_mtl.serving.methods import Method
from tf_mtl.serving.metrics import Metrics

_Handler = Callable[[bytes, grpc.aio.ServicerContext], Awaitable[bytes]]


def make_server(
    methods: Sequence[Method],
    admission: Admission,
    operators: Admission,
    metrics: Metrics,
    config: ServerConfig,
) -> tuple[grpc.aio.Server, health.aio.HealthServicer]:
    """Makes a gRPC server that has no port yet.

    Requests are parsed in the threads that compute, so that the event loop only passes
    bytes on, and one that cannot be parsed is the client's error (INVALID_ARGUMENT).

    Args:
        methods: what it answers.
        admission: when it runs models.
        operators: when it does what no model computes: operators must get through to a
            server that is busy.
        metrics: what counts and times requests.
        config: limits.

    Returns:
        The server and its health service.
    """
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", config.max_request_mb * 2**20),
            ("grpc.max_send_message_length", -1),
            # A second server on the same port is an error, not a partner.
            ("grpc.so_reuseport", 0),
        ],
        maximum_concurrent_rpcs=config.max_open_requests,
    )
    for service in dict.fromkeys(method.service for method in methods):
        handlers = {
            method.name: grpc.unary_unary_rpc_method_handler(
                _handler(method, admission if method.computes else operators, metrics)
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


def bind(server: grpc.aio.Server, config: ServerConfig) -> int:
    """Opens the port of a server.

    Args:
        server: not started yet.
        config: host, port, and certificate and key for TLS.

    Returns:
        int, the port.

    Raises:
        OSError: if the port is taken, or a file of TLS cannot be read.
    """
    address = f"{config.host}:{config.port}"
    try:
        if not config.tls_certificate:
            return server.add_insecure_port(address)
        key, certificate = (
            pathlib.Path(path).expanduser().read_bytes()
            for path in (config.tls_key, config.tls_certificate)
        )
        credentials = grpc.ssl_server_credentials([(key, certificate)])
        return server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise OSError(f"`port` must be free. Received: {address}.") from error


def services(methods: Iterable[Method]) -> list[str]:
    """Names that the health service knows: that of the server, and of the services."""
    return ["", *dict.fromkeys(method.service for method in methods)]


def _handler(method: Method, admission: Admission, metrics: Metrics) -> _Handler:
    async def handle(data: bytes, context: grpc.aio.ServicerContext) -> bytes:
        def call() -> bytes:
            return method.call_bytes(data)

        try:
            with metrics.watch("grpc", method.name):
                return await admission.run(call, context.time_remaining())
        except RequestError as error:
            # It raises, and so ends the call with this code.
            return await context.abort(error.code, error.message)

    return handle
