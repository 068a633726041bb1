"""How much memory a model takes: weights + KV cache + compute buffers, by its header. Arithmetic.

The estimate follows llama.cpp's own sizes: the KV cache holds, per token and layer, `head_count_kv` keys of
`key_length` and values of `value_length` elements; the compute buffer is dominated by one batch of logits
and of the widest activations, and without flash attention by the scores of one batch against the whole
context. It errs on the high side, because a worker killed for memory is worse than a model that has to wait.

Of `ngl` layers on GPUs llama.cpp counts from the output downwards: the first is the output matrix, the others
blocks with their part of the cache. The embedding matrix stays in main memory; where the model has no output
matrix of its own, the GPU gets a copy of it.

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
WORKER_GPU_BYTES = 600_000_000
"""What a worker takes of a GPU besides: the driver's context, the libraries' workspace."""
WORKER_RAM_FOR_GPU_BYTES = 650_000_000
"""What the driver and its libraries add to such a worker in main memory."""
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

_UNPACKED = KV_ELEMENT_BYTES.keys() - {"f32", "f16", "bf16"}
"""Caches of these formats a GPU turns into f16, a layer at a time, before it computes with them."""

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
    """On all GPUs together."""
    is_gpu_in_ram: bool = False
    """The GPUs have no memory of their own: what lies there counts as main memory too."""

    @property
    def total_bytes(self) -> int:
        """Main memory and that of GPUs which have their own."""
        return self.ram_bytes + (0 if self.is_gpu_in_ram else self.gpu_bytes)

    def __str__(self) -> str:
        gpu = f"{self.gpu_bytes / GB:.1f} GB" if self.gpu_bytes else ""
        tail = f", {gpu} of it for the GPU" if self.is_gpu_in_ram else f" + {gpu} GPU"
        return f"{self.ram_bytes / GB:.1f} GB" + (tail if gpu else "")


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes of one choice of settings, by part."""

    weights: int
    kv: int
    buffers: int
    """Everything else: compute buffers, the process itself, the GPU's driver."""
    gpu: int = 0
    """Of all this, on the GPUs together."""
    media: int = 0
    """What a projector takes beyond its weights."""

    @property
    def total(self) -> int:
        """Wherever it lies."""
        return self.weights + self.kv + self.buffers + self.media

    @property
    def ram(self) -> int:
        """In main memory, where GPUs have their own."""
        return self.total - self.gpu

    def words(self) -> str:
        """The parts, for a person."""
        pictures = f", pictures {self.media / GB:.2f} GB" if self.media else ""
        return (
            f"weights {self.weights / GB:.2f} GB, KV cache {self.kv / GB:.2f} GB, "
            f"buffers {self.buffers / GB:.2f} GB{pictures}"
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
    ram: int
    """What it takes of the budget's main memory."""
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
        return Need(weights=weights, kv=0, buffers=WORKER_BYTES, media=media)
    kv = int(kv_bytes_per_token(header, init.kv_type) * ctx_len * n_parallel)
    compute = _compute_bytes(header, init, ctx_len=ctx_len)
    layers = layers_of(header)
    ngl = min(ngl, layers)
    if ngl <= 0:
        return Need(weights=weights, kv=kv, buffers=compute + WORKER_BYTES, media=media)
    share = (ngl - 1) / max(layers - 1, 1)
    output = header.output_bytes or header.embedding_bytes
    blocks = max(weights - header.embedding_bytes - header.output_bytes, 0)
    is_copied = not header.output_bytes
    on_gpu = compute + WORKER_GPU_BYTES
    if init.kv_type in _UNPACKED:
        on_gpu += int(kv_bytes_per_token(header, "f16") * ctx_len * n_parallel) // max(layers - 1, 1)
    buffers = on_gpu + WORKER_BYTES + WORKER_RAM_FOR_GPU_BYTES
    return Need(
        weights=weights + (output if is_copied else 0),
        kv=kv,
        # Some of the computing is left to the processor unless all layers are on the GPU.
        buffers=buffers + (compute if ngl < layers else 0),
        gpu=int(output + (blocks + kv) * share) + on_gpu,
        media=media,
    )


def _compute_bytes(header: Header, init: InitParameters, *, ctx_len: int) -> int:
    """Buffers for the intermediate results of one batch."""
    batch = min(init.n_batch or UBATCH, UBATCH)
    if header.is_encoder:  # computes a text whole, with a mask of each token for each
        batch = min(ctx_len, header.context_length or ctx_len)
    width = max(header.embedding_length or 0, 1)
    scores = ctx_len * (header.head_count or 1) if init.flash_attn is False else 0
    mask = batch if header.is_encoder else 0
    return batch * 4 * ((header.vocab_size or 0) + 12 * width + scores + mask) + 16_000_000


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

    def ram() -> int:
        return needed().total if budget.is_gpu_in_ram else needed().ram

    while ngl > 0 and needed().gpu > budget.gpu_bytes:
        ngl -= 1
    while init.n_parallel is None and n_parallel > 1 and ram() > budget.ram_bytes:
        n_parallel //= 2
    while init.ctx_len is None and ctx_len > SMALLEST_FITTED_CTX_LEN and ram() > budget.ram_bytes:
        ctx_len = max(ctx_len // 2, SMALLEST_FITTED_CTX_LEN)
    return Fitted(ctx_len, n_parallel, ngl, layers, needed(), ram(), ram() <= budget.ram_bytes)


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
