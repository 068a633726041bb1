"""A good worker without llama.cpp: spare, spec, loading, ready; SIGTERM ends it, and so does its lifeline."""

import json
import os
import signal
import sys
import threading

status = int(os.environ["JANAGENT_STATUS_FD"])


def report(**message: object) -> None:
    os.write(status, json.dumps(message).encode() + b"\n")


def hold_on_to_lifeline() -> None:
    while os.read(0, 65536):
        pass
    os._exit(66)


signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
print("worker is up", flush=True)
report(event="spare")
spec = json.loads(sys.stdin.buffer.raw.readline())  # type: ignore[union-attr]
threading.Thread(target=hold_on_to_lifeline, daemon=True).start()
print(f"loading {spec['model_id']}", flush=True)
report(event="loading", progress=0.5)
report(event="ready", ctx_len=spec["ctx_len"], n_parallel=spec["n_parallel"])
while True:
    signal.pause()
