"""Answers `--probe` as the engine does: `good`, `none`, `rubbish`, `silent`, `crash`, `hang`."""

import json
import os
import signal
import sys

ANSWER = {
    "gpus": [{"name": "Test GPU", "free_bytes": 20_000_000_000, "total_bytes": 24_000_000_000, "more": 1}],
    "supports_gpu": True,
    "llama_cpp": "0.3.36",
}
how = sys.argv[1]
print("ggml_init: looking for devices", flush=True)
if how == "good":
    print(json.dumps(ANSWER), flush=True)
    os.abort()  # drivers like to crash at the very end
if how == "none":
    print(json.dumps(ANSWER | {"supports_gpu": False}), flush=True)
if how == "rubbish":
    print('{"gpus": [{"name": 7}]}\n{"gpus"', flush=True)
if how == "crash":
    os.abort()
if how == "hang":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.pause()
