"""How much memory a model takes: weights + KV cache + compute buffers, by its header. Arithmetic.

The estimate follows llama.cpp's own sizes: the KV cache holds, per token and layer, `head_count_kv` keys of
`key_length` and values of `value_length` elements; the compute buffer is dominated by one batch of logits
and of the widest activations. It errs on the high side, because a worker killed for memory is worse than a
model that has to wait.

It lies here because three ask the same question: the daemon before a load (`core.memory`), the catalog among
several quantizations (`quantization`), and a fetch before it takes one.
"""

from dataclasses import dataclass

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
MEDIA_BYTES = 256 << 20
"""Embeddings of pictures and sounds that a worker with a projector remembers at most."""

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

_COMMON = (
    (2e9, (16, 2048, 32, 8)),
    (5e9, (28, 3072, 24, 8)),
    (10e9, (32, 4096, 32, 8)),
    (20e9, (40, 5120, 40, 40)),
    (45e9, (60, 7168, 56, 8)),
    (float("inf"), (80, 8192, 64, 8)),
)
"""Up to how many parameters: layers, width, heads, heads for keys of Llama 3.2 1B and 3B, Llama 3.1 8B,
Llama 2 13B, Yi 34B and Llama 3.1 70B (their published configurations)."""


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
class Need:
    """Bytes of one choice of settings, by part."""

    weights: int
    kv: int
    compute: int
    layers_on_gpu: float
    """Share of the layers, 0 to 1."""
    media: int = 0
    """What a projector takes beyond its weights."""

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
        return int(on_cpu + (0 if self.layers_on_gpu >= 1 else self.compute) + self.media + WORKER_BYTES)

    def words(self) -> str:
        """The parts, for a person."""
        pictures = f", pictures {self.media / GB:.2f} GB" if self.media else ""
        return (
            f"weights {self.weights / GB:.2f} GB, KV cache {self.kv / GB:.2f} GB, "
            f"buffers {(self.compute + WORKER_BYTES) / GB:.2f} GB{pictures}"
        )


@dataclass(frozen=True, slots=True)
class Fitted:
    """Settings for one machine, and what they need: more than there is, where even the least does not fit."""

    ctx_len: int
    n_parallel: int
    ngl: int
    layers: int
    """As `ngl` counts them: the output layer too."""
    need: Need
    is_fitting: bool


def kv_bytes_per_token(header: Header, kv_type: str | None) -> float:
    """Bytes of KV cache one token takes over all layers.

    Most headers leave the lengths of key and value out; llama.cpp then takes the width by the heads.
    """
    if header.is_recurrent or header.is_encoder:
        return 0.0
    heads = header.head_count or 1
    usual = (header.embedding_length or 0) // heads
    width = (header.key_length or usual) + (header.value_length or usual)
    kv_heads = header.head_count_kv or heads
    return (header.block_count or 0) * kv_heads * width * KV_ELEMENT_BYTES[kv_type or "f16"]


def layers_of(header: Header | None) -> int:
    """How many layers `ngl` can count: the blocks and the output."""
    return ((header.block_count if header else None) or 0) + 1


def media_bytes(projector: Header | None) -> int:
    """What a projector takes beyond its weights: what is remembered, and its compute buffers.

    These hold some activations of every patch and the pixels, twice, for one picture at a time.
    """
    if projector is None:
        return 0
    patches, side = projector.image_patches or 0, projector.patch_size or 0
    return MEDIA_BYTES + 4 * patches * (10 * (projector.vision_width or 0) + 6 * side * side) + 16_000_000


def need(
    weights: int,
    header: Header | None,
    init: InitParameters,
    *,
    ctx_len: int,
    n_parallel: int,
    ngl: int,
    media: int = 0,
) -> Need:
    """The estimate for one choice of settings; `weights` are bytes, projector and adapters included."""
    if header is None:
        return Need(weights=weights, kv=0, compute=0, layers_on_gpu=0, media=media)
    batch = min(init.n_batch or UBATCH, UBATCH)
    if header.is_encoder:  # computes a text whole, with a mask of each token for each
        batch = min(ctx_len, header.context_length or ctx_len)
    width = max(header.embedding_length or 0, 1)
    compute = batch * 4 * ((header.vocab_size or 0) + 12 * width) + 16_000_000
    compute += 4 * batch * batch if header.is_encoder else 0
    layers = layers_of(header)
    return Need(
        weights=weights,
        kv=int(kv_bytes_per_token(header, init.kv_type) * ctx_len * n_parallel),
        compute=compute,
        layers_on_gpu=min(ngl, layers) / layers,
        media=media,
    )


def fitted(
    weights: int, header: Header | None, init: InitParameters, *, budget: Budget, media: int = 0
) -> Fitted:
    """Settings that fit `budget`: what `init` leaves open gives way, first ngl, then n_parallel, then
    ctx_len (contract, section 2)."""
    trained = header.context_length if header else None
    ctx_len = init.ctx_len or min(trained or DEFAULT_CTX_LEN, DEFAULT_CTX_LEN)
    n_parallel = init.n_parallel or DEFAULT_PARALLEL
    layers = layers_of(header)
    ngl = min(init.ngl, layers) if init.ngl is not None and init.ngl >= 0 else layers

    def needed() -> Need:
        return need(weights, header, init, ctx_len=ctx_len, n_parallel=n_parallel, ngl=ngl, media=media)

    while ngl > 0 and needed().gpu > budget.gpu_bytes:
        ngl -= 1
    while init.n_parallel is None and n_parallel > 1 and needed().ram > budget.ram_bytes:
        n_parallel //= 2
    while init.ctx_len is None and ctx_len > SMALLEST_FITTED_CTX_LEN and needed().ram > budget.ram_bytes:
        ctx_len = max(ctx_len // 2, SMALLEST_FITTED_CTX_LEN)
    found = needed()
    return Fitted(ctx_len, n_parallel, ngl, layers, found, found.ram <= budget.ram_bytes)


def common_header(parameter_count: float) -> Header:
    """The dimensions of a common model of about this many parameters, for when its own are not known."""
    layers, width, heads, kv_heads = next(figures for most, figures in _COMMON if parameter_count <= most)
    return Header(
        version=3,
        architecture="llama",
        required_bytes=0,
        block_count=layers,
        embedding_length=width,
        head_count=heads,
        head_count_kv=kv_heads,
        vocab_size=128_256,
    )
