"""`/v1/models`: list, show, start, stop, delete, logs (contract 3).

Owns the reading of these requests. What happens is the runtime's; nothing here branches on a state it read
in order to act. Neighbours: `routing` (ids in paths), `objects` (what is answered).
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from aiohttp import web

from janagent.core.faults import Refusal
from janagent.core.status import ModelStatus, State
from janagent.folder.entry import ModelEntry
from janagent.folder.manifest import ImportFormat
from janagent.http.context import API
from janagent.http.errors import ApiError, invalid
from janagent.http.jsonbody import encode, parse_object, read_body
from janagent.http.logs import answer_logs
from janagent.http.objects import joined
from janagent.http.routing import ModelPath, parse_model_path
from janagent.http.streams import send

PREFIX = "/v1/models/"
START_BODY_BYTES = 2**20
FILTERS: Mapping[str, Callable[[ModelStatus], bool]] = {
    "all": lambda status: True,
    "running": lambda status: status.state is State.RUNNING,
    "downloaded": lambda status: status.is_on_disk,
    "downloading": lambda status: status.state is State.DOWNLOADING,
}
ENGINES = ("llamacpp", "openai", "api", "azure_openai")
_ALLOWED: Mapping[str | None, str] = {
    None: "GET, HEAD, DELETE",
    "start": "PUT",
    "stop": "PUT",
    "logs": "GET, HEAD",
}


async def list_models(request: web.Request) -> web.StreamResponse:
    """`GET /v1/models[?filter=...]`."""
    api = request.app[API]
    wanted = _filter(request)
    statuses = api.runtime.statuses()
    objects = api.renderer.render_all(filter(FILTERS[wanted], statuses), known=len(statuses))
    pieces = partial(joined, objects, before=b'{"object":"list","data":[', after=b"]}")
    response = web.StreamResponse(headers={"Content-Type": "application/json; charset=utf-8"})
    response.content_length = sum(map(len, pieces()))
    await send(request, response, pieces(), limit_s=api.limits.stall_s)
    return response


async def one_model(request: web.Request) -> web.StreamResponse:
    """Everything below `/v1/models/`: the path says which model, and perhaps a reserved ending."""
    path = parse_model_path(request.rel_url.path_safe.removeprefix(PREFIX))
    match request.method, path.verb:
        case "GET" | "HEAD", None:
            return _object(request, request.app[API].runtime.status(_key(request, path)))
        case "GET" | "HEAD", "logs":
            return await answer_logs(request, _key(request, path), is_followed=flag(request, "follow"))
        case "PUT", "start":
            return await _start(request, path)
        case "PUT", "stop":
            return _object(request, await request.app[API].runtime.stop(_key(request, path)))
        case "DELETE", None:
            model_id = await request.app[API].runtime.delete(_key(request, path))
            body = encode({"id": model_id, "object": "model", "deleted": True})
            return web.Response(body=body, content_type="application/json")
        case _:
            allowed = _ALLOWED[path.verb]
            raise ApiError(
                "method_not_allowed",
                f"{request.method} is not possible here; allowed: {allowed}.",
                headers={"Allow": allowed},
            )


def flag(request: web.Request, name: str, *, default: bool = False) -> bool:
    """A query parameter that is `true` or `false`. Raises Refusal for another word."""
    text = request.query.get(name)
    if text is None:
        return default
    match text.lower():
        case "true" | "1" | "":
            return True
        case "false" | "0":
            return False
        case _:
            raise invalid(f"'{name}' must be true or false.", name)


def _filter(request: web.Request) -> str:
    """`filter` and `state` mean the same."""
    given = {name: request.query[name] for name in ("filter", "state") if name in request.query}
    for name, value in given.items():
        if value not in FILTERS:
            raise invalid(f"'{name}' must be one of {', '.join(FILTERS)}.", name)
    if len(set(given.values())) > 1:
        raise invalid("'filter' and 'state' mean the same, but they differ.", "state")
    return next(iter(given.values()), "all")


def _key(request: web.Request, path: ModelPath) -> str:
    return request.app[API].runtime.resolve(path.id)


def _object(request: web.Request, status: ModelStatus, *, http_status: int = 200) -> web.Response:
    body = request.app[API].renderer.render(status)
    return web.Response(status=http_status, body=body, content_type="application/json")


async def _start(request: web.Request, path: ModelPath) -> web.Response:
    api = request.app[API]
    key = _key(request, path)
    is_waited_for = flag(request, "wait", default=True)
    body = await read_body(request, limit_bytes=START_BODY_BYTES, idle_s=api.limits.body_idle_s)
    given = parse_object(body) if body.strip() else {}
    parameters = given.get("model_parameters")
    if parameters is None:
        parameters = {}
    if not isinstance(parameters, dict):
        raise invalid("'model_parameters' must be an object.", "model_parameters")
    _check_id(api.runtime.resolve, given.get("id"), key=key)
    _check_engine(given.get("engine"), api.runtime.status(key).entry)
    status = await api.runtime.start(key, parameters=parameters, wait=is_waited_for)
    return _object(request, status, http_status=200 if is_waited_for else 202)


def _check_id(resolve: Callable[[str], str], named: Any, *, key: str) -> None:
    if named is None or named == "":
        return
    if not isinstance(named, str):
        raise invalid("'id' must be a string.", "id")
    try:
        is_same = resolve(named) == key
    except Refusal:
        is_same = False
    if not is_same:
        raise invalid("'id' in the body names another model than the path.", "id")


def _check_engine(engine: Any, entry: ModelEntry) -> None:
    if engine is None or engine == "":
        return
    if engine not in ENGINES:
        raise invalid(f"'engine' must be one of {', '.join(ENGINES)}.", "engine")
    manifest = entry.manifest
    if not manifest.is_remote:
        fitting = {"llamacpp"}
    elif manifest.effective_import_format is ImportFormat.AZURE_OPENAI:
        fitting = {"api", "azure_openai"}
    else:
        fitting = {"api", "openai"}
    if engine not in fitting:
        raise invalid(f"'engine' is '{engine}', but this model's engine is {manifest.engine}.", "engine")
