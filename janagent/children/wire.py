"""What the daemon and its child programs say to each other. Imported by both sides; imports nothing of ours.

A child gets its spec as the first line (JSON) on stdin; the pipe then stays open as its lifeline: at
end-of-file the child exits at once. It reports on the file descriptor named by `JANAGENT_STATUS_FD`, one
JSON object a line (`StatusLine`). stdout and stderr are for logs only: llama.cpp's C code writes there.
"""

import json
from enum import IntEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

STATUS_FD_VARIABLE = "JANAGENT_STATUS_FD"
MEMORY_SETTINGS = ("ctx_len", "n_parallel", "ngl", "n_batch", "kv_type")
"""The init parameters that decide how much memory a model takes."""


KvType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"]


class ExitCode(IntEnum):
    """What a child's exit status means. Anything else, and any signal, is a crash."""

    OK = 0
    BAD_SPEC = 64
    LOAD_FAILED = 65
    PARENT_GONE = 66
    FETCH_FAILED = 67


class Wire(BaseModel):
    """Base of everything on the wire: frozen, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class MediaRules(Wire):
    """Where pictures and sounds of requests may come from, and how large each may be.

    A `data:` URL always may. `private_urls` are those of this machine and its network.
    """

    urls: bool = False
    private_urls: bool = False
    max_bytes: int = Field(default=20 * 2**20, ge=1)


class Adapter(Wire):
    """A LoRA adapter to apply to the model."""

    path: str
    scale: float = 1.0


class EngineSpec(Wire):
    """Everything a worker needs to load one model and serve it on `socket_path`.

    All sizes that depend on the machine are already decided by the daemon. `ctx_len` is tokens of one
    conversation; the KV cache is made for `n_parallel` of them. `gpu_bytes` is what `ngl` layers are reckoned
    to take of GPU memory. `None` in a prompt piece means not set.
    A reader that takes no byte for `reader_stall_s` is cut; the daemon, which sees the client itself, cuts
    long before that. `prompt_cache_bytes` is what finished conversations may take beside the KV cache, as
    long as nobody else needs that memory. `has_classifier` is False for a model whose header says that it
    ranks, but whose file lacks the head that would give the scores.
    """

    socket_path: str
    model_path: str
    projector_path: str | None = None
    adapters: tuple[Adapter, ...] = ()
    model_id: str
    ctx_len: int = Field(ge=1)
    n_parallel: int = Field(ge=1)
    ngl: int = 0
    gpu_bytes: int = Field(default=0, ge=0)
    n_threads: int | None = None
    n_batch: int | None = None
    flash_attn: bool | None = None
    kv_type: KvType | None = None
    chat_template: str | None = None
    pre_prompt: str | None = None
    user_prompt: str | None = None
    ai_prompt: str | None = None
    embedding: bool = True
    context_shift: bool = False
    media: MediaRules = MediaRules()
    has_classifier: bool = True
    queue_limit: int = Field(default=256, ge=0)
    prompt_cache_bytes: int = Field(default=2_000_000_000, ge=0)
    reader_stall_s: float = Field(default=600.0, gt=0)


class FetchSpec(Wire):
    """What a fetcher is to bring, and where to.

    `folder` is where the manifest lies; files of a repo keep their paths below it. `key` names the model,
    `artifact_key` what its manifest asks for, and `record_path` is the file that says a fetch for it is
    unfinished. What is chosen among quantizations has to fit `ram_bytes` and `gpu_bytes` (where
    `is_gpu_in_ram`, a part of the former) with the `MEMORY_SETTINGS`, which are the manifest's, None where it
    is silent. `defaults_path` is where the defaults go that the repo has for its model. The hub's token comes
    in the environment, never in here.
    """

    key: str
    artifact_key: str = ""
    model_id: str
    folder: str
    record_path: str
    origin: str | None = None
    import_format: Literal["default", "thebloke", "janhq"] = "default"
    download_url: str | None = None
    files: tuple[str, ...] = ()
    hub_endpoint: str | None = None
    ram_bytes: int = Field(default=0, ge=0)
    gpu_bytes: int = Field(default=0, ge=0)
    is_gpu_in_ram: bool = False
    ctx_len: int | None = None
    n_parallel: int | None = None
    ngl: int | None = None
    n_batch: int | None = None
    kv_type: KvType | None = None
    defaults_path: str | None = None


class Planned(Wire):
    """What is going to be fetched; `note` says what was chosen and why. Sizes nobody told count as 0."""

    event: Literal["planned"] = "planned"
    files: int
    total_bytes: int
    note: str = ""


class Fetching(Wire):
    """How far the fetch is; at most ten of these a second. `eta_s` is None while nobody can tell."""

    event: Literal["fetching"] = "fetching"
    done_bytes: int
    total_bytes: int
    bytes_per_s: float
    eta_s: float | None = None
    files: int


class Fetched(Wire):
    """All files are in place and right; `files` are their paths below the spec's folder."""

    event: Literal["fetched"] = "fetched"
    files: tuple[str, ...] = ()


class FetchFailed(Wire):
    """The fetcher gives up and exits. Unless `is_permanent`, trying again later may help."""

    event: Literal["fetch_failed"] = "fetch_failed"
    code: str
    message: str
    is_permanent: bool
    retry_after_s: float | None = None


class Spare(Wire):
    """The interpreter is up and llama_cpp is imported; waiting for a spec."""

    event: Literal["spare"] = "spare"


class Loading(Wire):
    """The model is being read; `progress` runs from 0 to 1."""

    event: Literal["loading"] = "loading"
    progress: float


class GpuMemory(Wire):
    """What is free on the GPUs that the worker uses, one figure each, and how much of them it took itself.

    Before it loads (`held_bytes` is 0 then), when it is ready, and every few seconds from then on.
    """

    event: Literal["gpu_memory"] = "gpu_memory"
    free_bytes: tuple[int, ...]
    held_bytes: int = Field(default=0, ge=0)


class Ready(Wire):
    """The worker listens on its socket. `warnings` are sentences for the person."""

    event: Literal["ready"] = "ready"
    ctx_len: int
    n_parallel: int
    warnings: tuple[str, ...] = ()


class Failed(Wire):
    """The worker gives up and exits; `message` is the engine's own words.

    `is_short_of_gpu`: other programs hold the GPU memory that it was to have, which may be otherwise soon.
    """

    event: Literal["failed"] = "failed"
    message: str
    is_short_of_gpu: bool = False


class Stats(Wire):
    """Once a second while ready: requests in slots and queue, and counters that only grow.

    `steps` counts decode steps (prefill chunks too); a ready worker with `live` requests whose `steps`
    stand still for the stall limit is killed by the daemon.
    """

    event: Literal["stats"] = "stats"
    live: int
    queued: int
    steps: int
    prompt_tokens: int = 0
    completion_tokens: int = 0
    requests: int = 0


StatusLine = Annotated[
    Spare | Loading | GpuMemory | Ready | Failed | Stats | Planned | Fetching | Fetched | FetchFailed,
    Field(discriminator="event"),
]
_status: TypeAdapter[StatusLine] = TypeAdapter(StatusLine)


def parse_status(line: bytes | str) -> StatusLine:
    """One line of the status pipe. Raises pydantic.ValidationError (a ValueError) on anything else."""
    return _status.validate_json(line)


def encode(message: Wire) -> bytes:
    """One line, newline included."""
    return message.model_dump_json(exclude_none=False).encode() + b"\n"


def sse(data: Any) -> bytes:
    """One server-sent event with a JSON body, in the form both the daemon and the engines write."""
    return b"data: " + json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"
