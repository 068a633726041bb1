"""Random traffic over one scheduler: each greedy answer is the one that its prompt gets alone.

Beginnings are shared, conversations go on, come back and leave, contexts shift, guesses are tried wherever
there is one, and the memory for finished conversations is small. What each answer said is then computed again
by itself, a token at a time in a fresh sequence. llama.cpp does not promise the same bits for a token alone
and among others; that is what the tolerance is for, a tenth of what a middling token is below the best.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from janagent.engine.context import Context, ContextOptions, Decoded, open_context
from janagent.engine.drafts import Costs
from janagent.engine.llama_log import EngineLog
from janagent.engine.model import Model, Tokens, load_model
from janagent.engine.retained import Retained
from janagent.engine.sampling import Sampling
from janagent.engine.scheduler import Scheduler
from janagent.engine.text import TextStream
from janagent.engine.work import Generation, Request, TokenReport
from tests.engine.architectures import write_recurrent, write_windowed
from tests.gguf_files import llama_tensors, write_model

CTX_LEN = 128
N_SLOTS = 3
N_BATCH = 48
TOLERANCE = 0.5
#: by so much the best token is better than a middling one, in all of these models
SPREAD = 4.0
N_REQUESTS = 40


def write_plain(path: Path) -> Path:
    tensors = {
        name: data * 4 if data.ndim > 1 else data  # so that each token really depends on those before
        for name, data in llama_tensors(layers=2).items()
    }
    return write_model(path, layers=2, tensors=tensors)


class FreeDrafts(Costs):
    """A machine on which guessed tokens cost nothing, so that all are tried."""

    def seconds(self, n_answers: int, length: int) -> float:
        return 1.0


class Noting(list[TokenReport]):
    """Token reports on their way, with their tokens noted."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens: list[int] = []

    def append(self, report: TokenReport, /) -> None:
        self.tokens.append(report.chances.token)
        super().append(report)


@dataclass
class Asked:
    """A request for one answer, and when its client leaves, if it does."""

    generation: Generation
    request: Request
    leaves_after: int | None
    said: Noting


@dataclass
class Traffic:
    """Clients of one scheduler, whose thread is the test's."""

    context: Context
    random: random.Random
    may_shift: bool
    asked: list[Asked] = field(default_factory=list)
    conversations: list[Tokens] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.scheduler = Scheduler(
            self.context,
            n_slots=N_SLOTS,
            ctx_len=CTX_LEN,
            queue_limit=1000,
            on_broken=pytest.fail,
            retained=Retained(self.retained_bytes(), window=self.context.window),
        )
        self.scheduler._costs = FreeDrafts()
        self.beginnings = [self.words(size) for size in (20, 45, 70)]

    def retained_bytes(self) -> int:
        """Room for some conversations of middling length."""
        self.context.clear_memory()
        self.context.clear_batch()
        self.context.add_tokens(self.words(N_BATCH), position=0, seq_id=0, want_last=True)
        assert self.context.decode() is Decoded.OK
        state = self.context.read_state(0)
        assert state is not None
        self.context.clear_memory()
        return 4 * state.size

    def words(self, size: int) -> Tokens:
        """Characters that tend to come again, so that there is something to guess."""
        return np.array([self.random.choice(range(260, 290)) for _ in range(size)], dtype=np.int32)

    def prompt(self) -> Tokens:
        if self.conversations and self.random.random() < 0.5:
            begin = self.random.choice(self.conversations)
            if self.random.random() < 0.3:  # asked again, or changed in the middle
                begin = begin[: self.random.randrange(1, begin.size + 1)]
        else:
            begin = self.random.choice(self.beginnings)
        return np.concatenate((begin, self.words(self.random.randrange(1, 12))))[: CTX_LEN - 8]

    def ask(self) -> None:
        said = Noting()
        generation = Generation(
            prompt=self.prompt(),
            max_tokens=self.random.choice((1, 5, 30, 200 if self.may_shift else 30)),
            sampling=Sampling(temperature=0.0, seed=self.random.choice((None, None, None, 1))),
            text=TextStream(),
            receive=lambda _progress: None,
            top_logprobs=0,
            unsent=said,
            n_keep=self.random.choice((None, 1, 15)) if self.may_shift else None,
        )
        if generation.n_keep is None:
            generation.max_tokens = min(generation.max_tokens, CTX_LEN - generation.prompt.size)
        leaves_after = self.random.randrange(12) if self.random.random() < 0.3 else None
        request = self.scheduler.submit([generation])
        self.asked.append(Asked(generation, request, leaves_after, said))

    def step(self) -> None:
        """What the decode thread does once."""
        self.scheduler._admit()
        self.scheduler._step()
        for asked in self.asked:
            running = asked.generation in self.scheduler._slots.generations
            if running and asked.leaves_after is not None:
                asked.leaves_after -= 1
                if asked.leaves_after < 0:
                    self.scheduler.cancel(asked.request)
            elif running and self.random.random() < 0.05:
                (self.scheduler.pause if self.random.random() < 0.5 else self.scheduler.resume)(asked.request)

    def go(self) -> None:
        for _ in range(N_REQUESTS):
            for _ in range(self.random.choice((1, 1, 2, 4))):
                self.ask()
            for _ in range(self.random.choice((1, 5, 20, 60))):
                self.step()
            self.remember()
        for asked in self.asked:
            self.scheduler.resume(asked.request)
        while self.scheduler._has_work():
            self.step()
            for asked in self.asked:
                self.scheduler.resume(asked.request)

    def remember(self) -> None:
        """What conversations go on from."""
        running = self.scheduler._slots.generations
        self.conversations = [
            np.concatenate((asked.generation.prompt, np.array(asked.said.tokens, dtype=np.int32)))[
                : CTX_LEN - 20
            ]
            for asked in self.asked
            if asked.generation not in running and asked.said.tokens
        ][-8:]


def worst(context: Context, generation: Generation, said: list[int]) -> tuple[float, float]:
    """By how much the logit of a token that was said is below the best one, at most, and by how much a
    middling token's is, at least: each after those before it, alone."""
    context.clear_memory()
    position, lost, spread = 0, 0.0, np.inf
    logits: npt.NDArray[np.float32] = np.zeros(0, dtype=np.float32)
    for at, token in enumerate([*map(int, generation.prompt), *said]):
        if at >= generation.prompt.size:
            lost = max(lost, float(logits.max() - logits[token]))
            spread = min(spread, float(logits.max() - np.median(logits)))
        if position == CTX_LEN:
            assert generation.n_keep is not None
            n_kept = min(generation.n_keep, position // 2)
            n_dropped = (position - n_kept) // 2
            context.shift(0, n_kept, n_kept + n_dropped)
            position -= n_dropped
        context.clear_batch()
        context.add_token(token, position=position, seq_id=0)
        assert context.decode() is Decoded.OK
        position += 1
        logits = context.logits(0)
    return lost, spread


def opened(
    path: Path, *, n_slots: int, kv_type: str | None = None, flash_attn: bool | None = None
) -> Context:
    model: Model = load_model(str(path), n_gpu_layers=0, on_progress=lambda _fraction: None)
    return open_context(
        model,
        ContextOptions(
            n_ctx=CTX_LEN * n_slots,
            n_batch=N_BATCH,
            n_seq_max=n_slots,
            n_threads=1,
            kv_type=kv_type,
            flash_attn=flash_attn,
        ),
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "write", [write_plain, write_windowed, write_recurrent], ids=["plain", "sliding window", "recurrent"]
)
def test_each_answer_is_that_of_its_prompt_alone(
    write: Callable[[Path], Path], seed: int, tmp_path: Path, engine_log: EngineLog
):
    path = write(tmp_path / "model.gguf")
    traffic = Traffic(opened(path, n_slots=N_SLOTS), random.Random(seed), may_shift=write is write_plain)
    traffic.go()
    alone = opened(path, n_slots=1)
    answered = [asked for asked in traffic.asked if asked.said.tokens]
    assert len(answered) > N_REQUESTS / 2
    spreads = []
    for number, asked in enumerate(answered):
        lost, spread = worst(alone, asked.generation, asked.said.tokens)
        assert lost < TOLERANCE, f"answer {number} with {asked.generation.n_cached} cached tokens"
        spreads.append(spread)
    assert np.median(spreads) > SPREAD, "a wrong token would not be told from a right one"
    n_cached = sum(asked.generation.n_cached > 0 for asked in answered)
    assert n_cached > len(answered) / (20 if write is write_recurrent else 4)
    if traffic.context.can_draft:
        assert traffic.scheduler.steps < 0.8 * sum(len(asked.said.tokens) for asked in answered)
