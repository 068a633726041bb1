"""A thousand short texts embedded in one request, as indexers send them, and what a worker takes beside its
model.

An encoder of the size of bge-small (33 million weights, random ones: the time does not depend on them) and
the starter model; llama-server gets as many slots as our batches have places. Memory is what the system
counts for the worker, less the model's mapped file and the KV caches; it keeps no conversation beside them.
"""

import random
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from time import perf_counter

import psutil

from janagent.folder.estimate import kv_bytes_per_token
from janagent.folder.gguf import inspect
from tests.benchmarks import peers
from tests.benchmarks.calm import undisturbed
from tests.benchmarks.load import Target, burst
from tests.benchmarks.report import Line, Plan, Section, parity, spread, verdict
from tests.engine.bert import Shape, bert_weights, write_bert

TEXTS = 1000
SLOTS = 32
SLOT_CTX = 256
ENCODER = Shape(n_embd=384, n_ff=1536, n_heads=12, n_layers=12, n_ctx=512, n_vocab=30_522)
LIMIT_MB = 150
_WORDS = ["the", "old", "cat", "sleeps", "in", "a", "blue", "house", "by", "river", "winter", "road"]


async def measure(plan: Plan) -> Section:
    """Both models."""
    number = TEXTS // 10 if plan.quick else TEXTS
    with tempfile.TemporaryDirectory(prefix="jan-bench-") as folder:
        path = Path(folder) / "encoder.gguf"
        write_bert(path, weights=bert_weights(ENCODER), shape=ENCODER, half=True)
        lines = await _model(plan, "encoder of 33M", path, _texts(number, [f"w{at}" for at in range(30_000)]))
    lines += await _model(plan, "starter model", peers.MODEL, _texts(number, _WORDS))
    how = f"{number} texts of 6 to 19 words in one request, mean pooling; llama-server has {SLOTS} slots."
    return Section("Embeddings, and a worker's memory", how, lines)


def _texts(number: int, words: Sequence[str]) -> list[str]:
    drawn = random.Random(7)
    return [" ".join(drawn.choices(words, k=drawn.randint(6, 19))) for _ in range(number)]


async def _model(plan: Plan, name: str, path: Path, texts: list[str]) -> list[Line]:
    lines = []
    async with AsyncExitStack() as stack:
        ours = await stack.enter_async_context(peers.worker(path, prompt_cache_bytes=0))
        if path == peers.MODEL:
            await burst(ours.target, 8, tokens=plan.tokens, seed=1)
            used = _beyond(ours.process, path, conversations=peers.SLOTS)
            lines.append(_memory(f"{name}: worker beyond weights and KV after 8 chats", used))
        theirs = await stack.enter_async_context(
            peers.llama_server_embeddings(path, slots=SLOTS, ctx_len=SLOT_CTX)
        )
        ways = [ours.target, theirs.target]
        for way in ways:
            await _embed(way, texts[:50])
        pairs = [
            await undisturbed(plan, partial(_turns, ways, texts)) for _ in range(max(2, plan.rounds - 2))
        ]
        ratio = spread([other / mine for mine, other in pairs])
        lines.append(
            Line(f"{name}: texts/s against llama-server", ratio.text(2, "x"), ">= 1.0x", parity(ratio))
        )
        speed = spread([len(texts) / mine for mine, _ in pairs])
        lines.append(Line(f"{name}: texts/s", speed.text(0)))
        used = _beyond(ours.process, path, conversations=peers.SLOTS + 1)
        lines.append(_memory(f"{name}: worker beyond weights and KV after the texts", used))
    return lines


async def _turns(ways: list[Target], texts: list[str], attempt: int) -> tuple[float, float]:
    took = {}
    for way in ways if attempt % 2 else ways[::-1]:
        took[id(way)] = await _embed(way, texts)
    mine, other = (took[id(way)] for way in ways)
    print(f"  {len(texts) / mine:.0f} and {len(texts) / other:.0f} texts/s", file=sys.stderr)
    return mine, other


async def _embed(target: Target, texts: list[str]) -> float:
    """Seconds until the last byte is here. Raises RuntimeError for anything but an answer."""
    async with target.session() as session:
        begun = perf_counter()
        body = {"model": target.model, "input": texts}
        async with session.post(f"{target.base_url}/v1/embeddings", json=body) as response:
            data = await response.read()
            took = perf_counter() - begun
            if response.status != 200 or data.count(b'"embedding":') != len(texts):
                raise RuntimeError(f"{response.status}: {data[:200]!r}")
    return took


def _memory(what: str, used_bytes: int) -> Line:
    used_mb = used_bytes / 1e6
    return Line(what, f"{used_mb:.0f} MB", f"< {LIMIT_MB} MB", verdict(ok=used_mb < LIMIT_MB))


def _beyond(process: psutil.Process, model: Path, *, conversations: int) -> int:
    """Bytes of the worker beside the mapped model and the KV caches of `conversations`."""
    maps = process.memory_maps(grouped=True)
    mapped = sum(one.rss for one in maps if Path(one.path) == model.resolve())
    if not mapped:
        raise RuntimeError(f"{model.name} is not mapped into the worker; its weights cannot be told apart")
    header = inspect(model).header
    assert header is not None
    kv = kv_bytes_per_token(header, None) * peers.CTX_LEN * conversations
    return int(process.memory_info().rss - mapped - kv)
