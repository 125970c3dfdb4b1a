"""The REST side of a server: TensorFlow Serving's addresses, metrics and health."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import fastapi
import grpc
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from tensorflow_serving.apis import get_model_status_pb2, model_pb2

from tf_mtl.serving import json_requests, metrics
from tf_mtl.serving.admission import Admission
from tf_mtl.serving.config import ServerConfig
from tf_mtl.serving.errors import RequestError, invalid_argument
from tf_mtl.serving.metrics import Metrics
from tf_mtl.serving.model_manager import ModelManager
from tf_mtl.serving.saved_model import Servable

_MODEL = r"(?P<name>[^/:]+)(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_CALL = re.compile(_MODEL + r":(?P<verb>\w+)")
_ABOUT = re.compile(_MODEL + r"(?P<metadata>/metadata)?")
_VERBS: dict[str, Callable[[Servable, bytes], bytes]] = {
    "predict": json_requests.predict,
    "classify": json_requests.classify,
    "regress": json_requests.regress,
}
_MAX_INT64 = 2**63 - 1
_HTTP = {
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
}


def make_app(
    models: ModelManager,
    admission: Admission,
    operators: Admission,
    watched: Metrics,
    healthy: Callable[[], Awaitable[bool]],
    config: ServerConfig,
) -> fastapi.FastAPI:
    """Makes the application.

    Args:
        models: what answers.
        admission: when models run.
        operators: when is told what no model computes.
        watched: what counts and times requests.
        healthy: function that says whether the server answers.
        config: largest body of a request, and the seconds that it may take, from when
            its head has come.

    Returns:
        An ASGI application.
    """
    timeout = config.rest_timeout
    app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.post("/v1/models/{path:path}")
    async def call(path: str, request: fastapi.Request) -> fastapi.Response:
        found = _CALL.fullmatch(path)
        verb = found["verb"] if found else ""
        # Unknown verbs must not become labels of metrics.
        with watched.watch("rest", verb if verb in _VERBS else "unknown"):
            if found is None or verb not in _VERBS:
                raise invalid_argument(
                    f"Malformed request: POST {request.url.path}. It must end in one "
                    f"of {[f':{name}' for name in _VERBS]}."
                )
            spec = _model_spec(found)
            try:
                # Again below: others may come while the body does.
                admission.check()
                async with asyncio.timeout(timeout) as limit:
                    body = await _read(request, config.max_request_mb * 2**20)
                    left = (limit.when() or 0.0) - asyncio.get_running_loop().time()
                    answer = await _unless_gone(
                        request,
                        admission.run(
                            lambda: _call(models, spec, _VERBS[verb], body), left
                        ),
                    )
            except TimeoutError as error:
                raise RequestError(
                    grpc.StatusCode.DEADLINE_EXCEEDED,
                    f"The request took more than {timeout} seconds.",
                ) from error
        return _json(answer)

    @app.get("/v1/models/{path:path}")
    async def about(path: str, request: fastapi.Request) -> fastapi.Response:
        found = _ABOUT.fullmatch(path)
        method = "metadata" if found and found["metadata"] else "status"
        with watched.watch("rest", method):
            if found is None:
                raise invalid_argument(f"Malformed request: GET {request.url.path}.")
            spec = _model_spec(found)
            ask = _metadata if found["metadata"] else _status
            return _json(await operators.run(lambda: ask(models, spec), timeout))

    @app.get("/metrics")
    @app.get("/monitoring/prometheus/metrics")
    async def read_metrics() -> fastapi.Response:
        return fastapi.Response(watched.text(), media_type=metrics.CONTENT_TYPE)

    @app.get("/healthz")
    async def health() -> fastapi.Response:
        return fastapi.Response(status_code=200 if await healthy() else 503)

    @app.exception_handler(RequestError)
    async def fail(request: fastapi.Request, error: RequestError) -> fastapi.Response:
        too_large = isinstance(error, _TooLargeError)
        return _error(413 if too_large else _HTTP.get(error.code, 500), error.message)

    @app.exception_handler(HTTPException)
    async def miss(request: fastapi.Request, error: HTTPException) -> fastapi.Response:
        return _error(error.status_code, f"{error.detail}: {request.url.path}")

    return app


class _TooLargeError(RequestError):
    """A body that is larger than the server takes; HTTP has a status of its own."""

    def __init__(self, limit: int) -> None:
        message = f"The body must have at most {limit} bytes."
        super().__init__(grpc.StatusCode.RESOURCE_EXHAUSTED, message)


async def _unless_gone(
    request: fastapi.Request, work: Coroutine[Any, Any, bytes]
) -> bytes:
    """The answer; the work is cancelled if the client leaves before."""
    answer = asyncio.ensure_future(work)
    # The body has been read, so the next message is that it disconnected.
    left = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait((answer, left), return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise RequestError(grpc.StatusCode.CANCELLED, "The client left.")
        return answer.result()
    finally:
        answer.cancel()
        left.cancel()


async def _read(request: fastapi.Request, limit: int) -> bytes:
    length = request.headers.get("content-length", "")
    # Before any of it is in memory.
    if length.isdigit() and int(length) > limit:
        raise _TooLargeError(limit)
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise _TooLargeError(limit)
    except ClientDisconnect as error:
        raise RequestError(grpc.StatusCode.CANCELLED, "The client left.") from error
    return bytes(body)


def _model_spec(found: re.Match[str]) -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=found["name"])
    if found["version"]:
        if len(found["version"]) > 19 or int(found["version"]) > _MAX_INT64:
            raise invalid_argument(f"Not a version: {found['version']}.")
        spec.version.value = int(found["version"])
    if found["label"]:
        spec.version_label = found["label"]
    return spec


def _call(
    models: ModelManager,
    spec: model_pb2.ModelSpec,
    function: Callable[[Servable, bytes], bytes],
    body: bytes,
) -> bytes:
    with models.use(spec) as servable:
        return function(servable, body)


def _metadata(models: ModelManager, spec: model_pb2.ModelSpec) -> bytes:
    with models.use(spec) as servable:
        return json_requests.metadata(servable)


def _status(models: ModelManager, spec: model_pb2.ModelSpec) -> bytes:
    statuses = models.statuses(spec)
    return json_requests.from_message(
        get_model_status_pb2.GetModelStatusResponse(model_version_status=statuses)
    )


def _json(content: bytes, status: int = 200) -> fastapi.Response:
    return fastapi.Response(content, status, media_type="application/json")


def _error(status: int, message: str) -> fastapi.Response:
    return _json(json.dumps({"error": message}).encode(), status)
