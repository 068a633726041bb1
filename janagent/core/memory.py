"""How much memory a model needs and which settings fit: weights + KV cache + compute buffers. Arithmetic.

The estimate follows llama.cpp's own sizes: the KV cache holds, per token and layer, `head_count_kv` keys of
`key_length` and values of `value_length` elements; the compute buffer is dominated by one batch of logits
and of the widest activations. It errs on the high side, because a worker killed for memory is worse than a
model that has to wait.
"""

from dataclasses import dataclass, field

from janagent.core.faults import Refusal
from janagent.folder.entry import ModelEntry, Role
from janagent.folder.gguf import Header
from janagent.folder.parameters import InitParameters

GB = 1_000_000_000
DEFAULT_CTX_LEN = 4096
SMALLEST_FITTED_CTX_LEN = 2048
DEFAULT_PARALLEL = 4
UBATCH = 512
"""Tokens llama.cpp computes at once at most, by default; its compute buffers are sized for it."""
WORKER_BYTES = 90_000_000
"""A worker process without a model: interpreter, llama_cpp, aiohttp."""

KV_ELEMENT_BYTES = {
    "f32": 4.0,
    "f16": 2.0,
    "bf16": 2.0,
    "q8_0": 34 / 32,
    "q5_1": 24 / 32,
    "q5_0": 22 / 32,
    "q4_1": 20 / 32,
    "q4_0": 18 / 32,
}


@dataclass(frozen=True, slots=True)
class Budget:
    """What all engines together may use."""

    ram_bytes: int
    gpu_bytes: int = 0

    def __str__(self) -> str:
        return f"{self.ram_bytes / GB:.1f} GB" + (
            f" + {self.gpu_bytes / GB:.1f} GB GPU" * bool(self.gpu_bytes)
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """The settings an engine is started with and what they cost."""

    key: str
    """Effective runtime key: two plans with one key would make the same engine."""
    init: InitParameters
    ctx_len: int
    n_parallel: int
    ngl: int
    ram_bytes: int
    gpu_bytes: int = 0
    warnings: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes of one choice of settings, by part."""

    weights: int
    kv: int
    compute: int
    layers_on_gpu: float
    """Share of the layers, 0 to 1."""

    @property
    def gpu(self) -> int:
        """On the GPUs together."""
        return int(
            (self.weights + self.kv) * self.layers_on_gpu + (self.compute if self.layers_on_gpu else 0)
        )

    @property
    def ram(self) -> int:
        """In main memory."""
        on_cpu = (self.weights + self.kv) * (1 - self.layers_on_gpu)
        return int(on_cpu + (0 if self.layers_on_gpu >= 1 else self.compute) + WORKER_BYTES)

    def words(self) -> str:
        """The parts, for a person."""
        return (
            f"weights {self.weights / GB:.2f} GB, KV cache {self.kv / GB:.2f} GB, "
            f"buffers {(self.compute + WORKER_BYTES) / GB:.2f} GB"
        )


def kv_bytes_per_token(header: Header, kv_type: str | None) -> float:
    """Bytes of KV cache one token takes over all layers.

    Most headers leave the lengths of key and value out; llama.cpp then takes the width by the heads.
    """
    if header.is_recurrent:
        return 0.0
    heads = header.head_count or 1
    usual = (header.embedding_length or 0) // heads
    width = (header.key_length or usual) + (header.value_length or usual)
    kv_heads = header.head_count_kv or heads
    return (header.block_count or 0) * kv_heads * width * KV_ELEMENT_BYTES[kv_type or "f16"]


def need(entry: ModelEntry, init: InitParameters, *, ctx_len: int, n_parallel: int, ngl: int) -> Need:
    """The estimate for one choice of settings."""
    header = entry.header
    weights = sum(b.size_bytes for b in entry.binaries if b.role is not Role.ADAPTER)
    if header is None:
        return Need(weights=weights, kv=0, compute=0, layers_on_gpu=0)
    batch = min(init.n_batch or UBATCH, UBATCH)
    width = max(header.embedding_length or 0, 1)
    compute = batch * 4 * ((header.vocab_size or 0) + 12 * width) + 16_000_000
    layers = (header.block_count or 0) + 1
    return Need(
        weights=weights,
        kv=int(kv_bytes_per_token(header, init.kv_type) * ctx_len * n_parallel),
        compute=compute,
        layers_on_gpu=min(ngl, layers) / layers,
    )


def fit(entry: ModelEntry, init: InitParameters, *, key: str, budget: Budget) -> Plan:
    """Settings for this machine; what the manifest leaves open gives way: ngl, then n_parallel, then ctx_len.

    Raises Refusal `insufficient_memory` with the figures when it cannot fit even alone.
    """
    trained = entry.header.context_length if entry.header else None
    warnings: list[str] = []
    ctx_len = init.ctx_len or min(trained or DEFAULT_CTX_LEN, DEFAULT_CTX_LEN)
    if trained and ctx_len > trained:
        warnings.append(f"ctx_len {ctx_len} is beyond the {trained} tokens the model was trained for")
    n_parallel = init.n_parallel or DEFAULT_PARALLEL
    layers = ((entry.header.block_count if entry.header else None) or 0) + 1
    is_ngl_set = init.ngl is not None and init.ngl >= 0
    wanted_ngl = min(init.ngl, layers) if init.ngl is not None and init.ngl >= 0 else layers
    ngl = wanted_ngl

    def bytes_needed() -> Need:
        return need(entry, init, ctx_len=ctx_len, n_parallel=n_parallel, ngl=ngl)

    while ngl > 0 and bytes_needed().gpu > budget.gpu_bytes:
        ngl -= 1
    if is_ngl_set and ngl < wanted_ngl:
        there = f"{budget.gpu_bytes / GB:.1f} GB of GPU memory" if budget.gpu_bytes else "no usable GPU"
        warnings.append(f"ngl {init.ngl} lowered to {ngl}: {there}")
    while init.n_parallel is None and n_parallel > 1 and bytes_needed().ram > budget.ram_bytes:
        n_parallel //= 2
    while (
        init.ctx_len is None and ctx_len > SMALLEST_FITTED_CTX_LEN and bytes_needed().ram > budget.ram_bytes
    ):
        ctx_len = max(ctx_len // 2, SMALLEST_FITTED_CTX_LEN)
    if bytes_needed().ram > budget.ram_bytes:
        raise too_large(entry, bytes_needed(), budget)
    return Plan(
        key=key,
        init=init,
        ctx_len=ctx_len,
        n_parallel=n_parallel,
        ngl=ngl,
        ram_bytes=bytes_needed().ram,
        gpu_bytes=bytes_needed().gpu,
        warnings=tuple(warnings),
    )


def too_large(entry: ModelEntry, wanted: Need, budget: Budget) -> Refusal:
    """The refusal of a model that cannot fit, with the figures and what can be done."""
    return Refusal(
        "insufficient_memory",
        f"{entry.id} needs {wanted.ram / GB:.2f} GB ({wanted.words()}), but models may use {budget}; "
        "lower ctx_len or n_parallel in the manifest, take a smaller quantization, or raise memory_budget",
    )
