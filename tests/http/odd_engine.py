"""A real engine process that misbehaves on request: `python odd_engine.py`, spoken to over `children.wire`.

A request says in its field `odd` what goes wrong. Speaks the worker's protocol without llama.cpp, so that
what the daemon makes of each accident can be tested in milliseconds.
"""

import asyncio
import json
import os
import signal
import sys
import threading

from aiohttp import web

from janagent.children.wire import (
    STATUS_FD_VARIABLE,
    EngineSpec,
    ExitCode,
    Failed,
    GpuMemory,
    Ready,
    Spare,
    Stats,
    encode,
    sse,
)

STATUS_FD = int(os.environ[STATUS_FD_VARIABLE])
STREAM_HEADERS = {"Content-Type": "text/event-stream; charset=utf-8", "X-Engine": "odd"}
BLOCK = 64 * 1024


def say(*words: object) -> None:
    print(*words, flush=True)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def begin(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers=STREAM_HEADERS)
    await response.prepare(request)
    return response


async def answer(request: web.Request) -> web.StreamResponse:
    body = json.loads(await request.read())
    odd = body.get("odd", "echo")
    try:
        return await globals()[f"odd_{odd}"](request, body)
    except asyncio.CancelledError:
        say("client gone during", odd)
        raise


async def odd_echo(request: web.Request, body: dict) -> web.StreamResponse:
    return web.json_response({"path": request.path, "headers": dict(request.headers), "body": body})


async def odd_refuse(request: web.Request, body: dict) -> web.StreamResponse:
    error = {"message": "too many", "type": "rate_limit_error", "param": None, "code": "queue_full"}
    return web.json_response({"error": error}, status=429, headers={"Retry-After": "7"})


async def odd_die_first(request: web.Request, body: dict) -> web.StreamResponse:
    die()
    return web.Response()


async def odd_die_after_head(request: web.Request, body: dict) -> web.StreamResponse:
    await begin(request)
    await asyncio.sleep(0.05)
    die()
    return web.Response()


async def odd_die_within_json(request: web.Request, body: dict) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"id":')
    await asyncio.sleep(0.05)
    die()
    return response


async def odd_die_midway(request: web.Request, body: dict) -> web.StreamResponse:
    response = await begin(request)
    await response.write(sse({"choices": [{"delta": {"content": "half"}}]}))
    await asyncio.sleep(0.05)
    die()
    return response


async def odd_die_within_event(request: web.Request, body: dict) -> web.StreamResponse:
    response = await begin(request)
    await response.write(b'data: {"choices": [{"del')
    await asyncio.sleep(0.05)
    die()
    return response


async def odd_pieces(request: web.Request, body: dict) -> web.StreamResponse:
    """Bytes in pieces that break wherever they like."""
    response = await begin(request)
    for piece in body["pieces"]:
        await response.write(bytes.fromhex(piece))
        await asyncio.sleep(0)
    await response.write_eof()
    return response


async def odd_forever(request: web.Request, body: dict) -> web.StreamResponse:
    response = await begin(request)
    while True:
        await response.write(sse("x" * BLOCK))


async def odd_drip(request: web.Request, body: dict) -> web.StreamResponse:
    """One small event every so often, without end."""
    response = await begin(request)
    for number in range(1_000_000):
        await response.write(sse(number))
        await asyncio.sleep(body.get("every_s", 0.01))
    return response


async def odd_silent(request: web.Request, body: dict) -> web.StreamResponse:
    say("thinking")
    await asyncio.Event().wait()
    return web.Response()


async def odd_large(request: web.Request, body: dict) -> web.StreamResponse:
    return web.Response(body=b"x" * body["size"], content_type="application/json")


async def serve(spec: EngineSpec) -> None:
    if "unloadable" in spec.model_id:
        os.write(STATUS_FD, encode(Failed(message="tensor 'x' is missing in unloadable.gguf")))
        os._exit(ExitCode.LOAD_FAILED)
    if "short_of_gpu" in spec.model_id:
        os.write(STATUS_FD, encode(GpuMemory(free_bytes=(10**9,))))
        words = "33 layers need 5.0 GB of GPU memory, of which 1.0 GB are free"
        os.write(STATUS_FD, encode(Failed(message=words, is_short_of_gpu=True)))
        os._exit(ExitCode.LOAD_FAILED)
    if "slow" in spec.model_id:
        await asyncio.sleep(60)
    app = web.Application(client_max_size=2**30)
    app.router.add_post("/v1/{tail:.*}", answer)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
    await runner.setup()
    await web.UnixSite(runner, spec.socket_path).start()
    os.write(STATUS_FD, encode(Ready(ctx_len=spec.ctx_len, n_parallel=spec.n_parallel)))
    if "gpu" in spec.model_id:
        os.write(STATUS_FD, encode(GpuMemory(free_bytes=(6 * 10**9, 10**9), held_bytes=4 * 10**12)))
    os.write(STATUS_FD, encode(Stats(live=0, queued=0, steps=1, prompt_tokens=11, completion_tokens=5)))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, os._exit, 0)
    await asyncio.Event().wait()


def lifeline() -> None:
    while os.read(0, 4096):
        pass
    os._exit(66)


def main() -> None:
    os.write(STATUS_FD, encode(Spare()))
    spec = EngineSpec.model_validate_json(sys.stdin.buffer.raw.readline())
    threading.Thread(target=lifeline, daemon=True).start()
    say("serving", spec.model_id)
    asyncio.run(serve(spec))


if __name__ == "__main__":
    main()
