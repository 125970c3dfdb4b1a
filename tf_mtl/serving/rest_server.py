"""RestServer: an application behind a port, in the event loop of the server."""

import asyncio
import os
import socket
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from tf_mtl.serving.config import ServerConfig

# Clients keep a connection between their requests for longer than uvicorn's 5 s.
_KEEP_ALIVE_SECONDS = 60
_HEAD_SECONDS = 10.0


class HeadTimeout(H11Protocol):
    """HTTP/1.1 whose connections must not wait for the head of a request for long.

    uvicorn has a timeout between two requests only: clients that connect and send
    nothing, or half a head, would keep their sockets until there are no more.
    """

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Starts the time of the first head."""
        super().connection_made(transport)
        self._timer = self.loop.call_later(_HEAD_SECONDS, transport.abort)

    def data_received(self, data: bytes) -> None:
        """Ends the time when the head is there, and starts it with that of the next."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._end_time()
        # What is left of a body that was refused unread is no head.
        elif (
            self._timer is None
            and self.conn.their_state is h11.IDLE
            and self.conn.trailing_data[0]
        ):
            self._timer = self.loop.call_later(_HEAD_SECONDS, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends the time."""
        self._end_time()
        super().connection_lost(exc)

    def _end_time(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class RestServer:
    """Runs an ASGI application.

    Args:
        app: the application.
        config: host, port, certificate and key, limits.
    """

    def __init__(self, app: Any, config: ServerConfig) -> None:
        self._config = config
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                http=HeadTimeout,
                ws="none",
                log_config=None,
                access_log=False,
                lifespan="off",
                # It counts the connection that asks, too.
                limit_concurrency=config.max_open_requests + 1,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=int(config.drain_seconds) or 1,
                ssl_certfile=os.path.expanduser(config.tls_certificate) or None,
                ssl_keyfile=os.path.expanduser(config.tls_key) or None,
            )
        )

    async def start(self) -> int:
        """Opens the port.

        Returns:
            int, the port.

        Raises:
            OSError: if the port is taken, the host is not of this machine, or a file of
                TLS cannot be read.
        """
        address = (self._config.host, self._config.rest_port)
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        try:
            listener = socket.create_server(address, family=family)
        except OSError as error:
            raise OSError(
                "`host` must be an address of this machine, and `rest_port` must be "
                f"free. Received: {address[0]}:{address[1]}: {error.strerror}."
            ) from error
        # Connections inherit it. Head and body of an answer are written apart, and the
        # body would wait 40 ms for the client to acknowledge the head.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._task = asyncio.create_task(self._server.serve([listener]))
        while not self._server.started and not self._task.done():
            await asyncio.sleep(0.01)
        if not self._server.started:
            listener.close()
            # Raises what ended it.
            await self._task
            raise OSError("The REST server ended when it started.")
        return listener.getsockname()[1]

    async def stop(self) -> None:
        """Answers the requests that came in, and closes the port."""
        self._server.should_exit = True
        await self._task
