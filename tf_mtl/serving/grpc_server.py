"""The gRPC side of a server: TensorFlow Serving's services and the health service."""

import pathlib
import ssl
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
        OSError: if the port is taken, the host is not of this machine, or a file of TLS
            cannot be read.
        ValueError: if the files of TLS are no certificate and its key.
    """
    host = f"[{config.host}]" if ":" in config.host else config.host
    address = f"{host}:{config.port}"
    credentials = _credentials(config)
    try:
        if credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise OSError(
            "`host` must be an address of this machine, and `port` must be free. "
            f"Received: {address}."
        ) from error


def _credentials(config: ServerConfig) -> grpc.ServerCredentials | None:
    if not config.tls_certificate:
        return None
    certificate = pathlib.Path(config.tls_certificate).expanduser()
    key = pathlib.Path(config.tls_key).expanduser()
    pair = key.read_bytes(), certificate.read_bytes()
    try:
        # gRPC would only say that it cannot bind. No password: nobody may be there.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            certificate, key, lambda: ""
        )
    except ssl.SSLError as error:
        raise ValueError(
            "`tls_certificate` and `tls_key` must be PEM files of a certificate and "
            f"its key, without a password. Received: {str(certificate)!r}, "
            f"{str(key)!r}: {error}."
        ) from error
    return grpc.ssl_server_credentials([pair])


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
