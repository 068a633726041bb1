"""The decode thread: continuous batching over the slots of one llama_context.

Each step advances every live answer by one token and spends what is left of the batch on prompts, all in
one `llama_decode`. The event loop talks to it through `submit`, `cancel`, `pause` and `resume`; it answers
with one `call_soon_threadsafe` a step. It must not know HTTP, JSON or chat templates.

A step, numbered as in `_step`:
1. drop cancelled answers and give free slots to waiting requests, in turn;
2. feed a medium, fill the batch (`batch`): a token for each answering slot, guesses at more, prompt chunks;
3. decode;
4. sample, turn tokens into text, find the ends;
5. hand all of it to the loop.
"""

import asyncio
import collections
import logging
import threading
import time
from collections.abc import Callable

from janagent.engine.batch import Filled, fill
from janagent.engine.context import Context, Decoded
from janagent.engine.drafts import Costs
from janagent.engine.feeding import next_to_see, prefill_medium
from janagent.engine.pace import MIN_CHUNK, Pace
from janagent.engine.retained import Retained
from janagent.engine.sampling import ShapeLost, chances
from janagent.engine.slots import Slot
from janagent.engine.table import SlotTable
from janagent.engine.work import Finish, Generation, Progress, QueueFull, Request, SideWork, TokenReport
from janagent.slices import ask_for_usual_slices

log = logging.getLogger(__name__)

#: how long an idle engine waits for further requests of the same moment: a share of what is to be prefilled
_GATHER_SHARE = 0.01
_GATHER_MAX_S = 0.004
#: how long a token may wait for the next one, so that both wake the readers once: nobody reads faster, and
#: each waking takes the cores from llama.cpp's threads
_PACE_S = 0.01
#: how long the decode thread stands back after the first token of an answer: llama.cpp's threads hold every
#: core, and that token has the loop, the daemon and the client to pass before anybody sees it
_STAND_BACK_S = 0.001

Update = tuple[Generation, Progress]


class Scheduler:
    """Owns the context of the answers and the thread that drives it.

    `on_broken(message)` is called on the loop when llama.cpp fails for good, after the live answers got
    their error.
    """

    def __init__(
        self,
        context: Context,
        *,
        n_slots: int,
        ctx_len: int,
        queue_limit: int,
        on_broken: Callable[[str], None],
        retained: Retained | None = None,
    ) -> None:
        self._context = context
        self._model = context.model
        self._end_tokens = context.model.end_tokens
        self._ctx_len = ctx_len
        self._queue_limit = queue_limit
        self._on_broken = on_broken
        self._slots = SlotTable(context, n_slots=n_slots, ctx_len=ctx_len, retained=retained)
        self._waiting: collections.deque[Request] = collections.deque()
        self._arriving: Generation | None = None
        """Has left the waiting line and has no slot yet."""
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="decode", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._side: SideWork | None = None
        self._costs = Costs()
        self._pace = Pace()
        self._answer_s = 2.0
        self._held: list[Update] = []
        self._held_until_s = 0.0
        self.steps = 0
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.requests = 0

    def start(self, loop: asyncio.AbstractEventLoop, *, side: SideWork | None = None) -> None:
        """Start the decode thread; progress is delivered on `loop`. It ends with the process or by `stop`."""
        self._loop = loop
        self._side = side
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end after the step it is in; does not wait."""
        with self._changed:
            self._stopping = True
            self._changed.notify()

    # -- called by the loop ----------------------------------------------------------------------------------

    def submit(self, generations: list[Generation]) -> Request:
        """Queue the answers of one request. Raises QueueFull."""
        request = Request(generations=generations, since_s=time.monotonic())
        with self._changed:
            free = self._slots.n_free
            if self._arriving is not None and self._arriving not in self._slots.generations:
                free -= 1
            ahead = sum(len(other.generations) - other.n_admitted for other in self._waiting)
            # Those that the free slots will take at the next step do not count as waiting.
            if ahead >= free and len(self._waiting) - free >= self._queue_limit:
                wait_s = self._answer_s * (len(self._waiting) + 1) / len(self._slots)
                raise QueueFull(retry_after_s=max(1, min(60, round(wait_s))))
            self._waiting.append(request)
            self.requests += 1
            self._changed.notify()
        return request

    def cancel(self, request: Request) -> None:
        """Give up on a request; its slots are free from the next step on. Harmless when it has ended."""
        with self._changed:
            for generation in request.generations:
                generation.cancelled = True
            self._changed.notify()

    def pause(self, request: Request) -> None:
        """Keep the slots of a request but do not advance it: its reader is behind."""
        for generation in request.generations:
            generation.paused = True

    def resume(self, request: Request) -> None:
        """Advance a paused request again."""
        with self._changed:
            for generation in request.generations:
                generation.paused = False
            self._changed.notify()

    def wake(self) -> None:
        """Look for side work."""
        with self._changed:
            self._changed.notify()

    def counts(self) -> tuple[int, int]:
        """(answers that should be advancing, requests in the waiting line).

        Paused answers are not counted.
        """
        live = sum(not generation.paused for generation in self._slots.generations)
        side = self._side is not None and self._side.has_work()
        return live + side, len(self._waiting)

    # -- the decode thread -----------------------------------------------------------------------------------

    def _run(self) -> None:
        ask_for_usual_slices()
        try:
            while self._wait_for_work():
                if self._side is not None and self._side.has_work():
                    self._flush()
                    self.prompt_tokens += self._side.step()
                    self.steps += 1
                self._step()
        except Exception as error:
            log.exception("the decode thread failed")
            self._broken(f"internal error of the engine: {error}")

    def _wait_for_work(self) -> bool:
        with self._changed:
            was_idle = False
            while not (self._stopping or self._has_work()):
                was_idle = True
                self._flush()
                self._changed.wait()
            if was_idle and self._waiting:
                self._gather()
            if any(request.generations[0].cancelled for request in self._waiting):
                self._waiting = collections.deque(r for r in self._waiting if not r.generations[0].cancelled)
            is_stopping = self._stopping
        if not is_stopping:
            self._admit()
        return not is_stopping

    def _gather(self) -> None:
        """Let requests that come together start together: prompts that share a step cost less than one after
        the other, and answers that advance in step end in step."""
        prefill_s = self._pace.token_s * sum(
            self._slots.n_new(request.generations[0].prompt) for request in self._waiting
        )
        self._changed.wait_for(
            lambda: self._stopping or len(self._waiting) >= len(self._slots),
            timeout=min(_GATHER_MAX_S, _GATHER_SHARE * prefill_s),
        )

    def _has_work(self) -> bool:
        if self._slots.has_work or (self._waiting and self._slots.n_free):
            return True
        if any(all(g.cancelled for g in request.generations) for request in self._waiting):
            return True
        return self._side is not None and self._side.has_work()

    def _admit(self) -> None:
        """(1) Free the slots of cancelled answers, then fill free slots from the waiting line."""
        for slot in self._slots.cancelled():
            self._release(slot)
        while self._slots.n_free and (arriving := self._next_in_line()) is not None:
            # Not under the lock: this may copy for long, and the loop must not stand still for it.
            # On a GPU some tokens more cost less than the step that waiting for them takes.
            least_wait = max(MIN_CHUNK, (self._costs.seconds(1, 0) or 0.0) / self._pace.token_s)
            self._slots.occupy(arriving, least_wait=least_wait, token_s=self._pace.token_s)
            self.prompt_tokens += arriving.prompt.size
            self._arriving = None

    def _next_in_line(self) -> Generation | None:
        """Take the next answer out of the waiting line, if there is one."""
        with self._changed:
            if not self._waiting:
                return None
            request = self._waiting.popleft()
            self._arriving = request.generations[request.n_admitted]
            request.n_admitted += 1
            if request.n_admitted < len(request.generations):
                # Behind the others: a request for many answers takes its turn for each of them.
                self._waiting.append(request)
            return self._arriving

    def _release(self, slot: Slot) -> None:
        self._answer_s += 0.2 * (self._slots.release(slot) - self._answer_s)

    def _step(self) -> None:
        active = self._slots.active()
        if not active:
            return
        if (seen := self._feed_medium(active)) is not Decoded.OK:
            self._recover(seen, active)
            return
        for slot in active:
            if slot.n_past >= self._ctx_len:
                self._slots.shift(slot)
        started_s = time.perf_counter()
        filled = fill(self._context, active, pace=self._pace, costs=self._costs)
        if filled.n_prefill:
            self._flush()  # this step may take long
        if not self._context.n_tokens:
            return
        result = self._context.decode()
        if result is not Decoded.OK:
            self._recover(result, active)
            return
        self.steps += 1
        took_s = time.perf_counter() - started_s
        self._learn(filled, took_s)
        updates: list[Update] = []
        for slot in active:
            slot.commit()
            if slot.batch_index >= 0:
                self._take_tokens(slot, updates)
        self._deliver(updates)

    def _learn(self, filled: Filled, took_s: float) -> None:
        """What steps take, for the size of prompt chunks and of drafts."""
        n_prefill, n_answers, n_draft, least_chunk = filled
        if n_prefill:
            answers_s = self._costs.seconds(n_answers, 0) or 0.0
            self._pace.learn(n_prefill, max(took_s - answers_s, took_s / 2), least=least_chunk)
        elif n_draft:
            self._costs.drafted(n_answers, n_draft, took_s)
        else:
            self._costs.plain(n_answers, took_s)

    def _feed_medium(self, active: list[Slot]) -> Decoded:
        """(2) Embeddings cannot share a batch with tokens."""
        if (slot := next_to_see(active)) is None:
            return Decoded.OK
        self._flush()
        self.steps += 1
        started_s, n_past = time.perf_counter(), slot.n_past
        at_most = self._pace.chunk(is_alone=all(other.n_prefill for other in active))
        result = prefill_medium(self._context, slot, at_most=at_most)
        n_tokens = slot.n_past - n_past
        self._pace.learn(n_tokens, time.perf_counter() - started_s, least=n_tokens)
        return result

    def _recover(self, result: Decoded, active: list[Slot]) -> None:
        """(3) gone wrong. Each slot has room for a whole conversation, so a lack of it is nothing to expect;
        one answer is less than all of them."""
        if result is Decoded.BROKEN:
            self._broken("llama.cpp failed to decode; its log has the reason")
            return
        victim = max(active, key=lambda slot: slot.since_s)
        assert victim.generation is not None
        log.warning("no room left in the KV cache; the youngest of %d answers is given up", len(active))
        self._deliver([(victim.generation, Progress("", error="no room left in the KV cache"))])
        self._slots.cut(victim, keep=0)
        self._release(victim)

    def _take_tokens(self, slot: Slot, updates: list[Update]) -> None:
        """(4) Sample for one slot whose logits are in, and on along its draft for as long as that comes true;
        append what came of it to `updates`."""
        generation, draft = slot.generation, slot.draft
        assert generation is not None
        n_before = slot.n_past - draft.size
        text, finish, error, n_right = "", None, None, 0
        while True:
            try:
                token = slot.next_token = slot.sampler.sample(self._context, slot.batch_index + n_right)
            except ShapeLost as lost:
                error = str(lost)
                break
            piece, finish = self._take(slot, token, n_past=n_before + n_right, at=n_right)
            text += piece
            if finish is not None or n_right == draft.size or token != draft[n_right]:
                break
            n_right += 1
        if n_right < draft.size:
            self._slots.cut(slot, keep=n_before + n_right)
        slot.judge_guess(n_right)
        if finish is not None or error is not None:
            self._release(slot)
        reports = generation.ready_reports(finish) if generation.unsent else ()
        if text or finish is not None or reports or error is not None:
            updates.append((generation, Progress(text, finish, reports, error)))

    def _take(self, slot: Slot, token: int, *, n_past: int, at: int) -> tuple[str, Finish | None]:
        """The text that a token brings, and whether the answer ends with it."""
        generation = slot.generation
        assert generation is not None
        stream = generation.text
        self.completion_tokens += 1
        if token in self._end_tokens:
            return stream.finish(), Finish.STOP
        if generation.top_logprobs is not None:
            logits = self._context.logits(slot.batch_index + at)
            found = chances(logits, token, n_top=generation.top_logprobs)
            generation.unsent.append(TokenReport(found, stream.decoded_chars))
        text = stream.feed(generation.shown.get(token) or self._model.piece(token))
        generation.n_generated += 1
        if stream.stopped:
            return text, Finish.STOP
        if slot.sampler.is_over:
            return text + stream.finish(), Finish.STOP
        is_full = n_past >= self._ctx_len and generation.n_keep is None
        if generation.n_generated >= generation.max_tokens or is_full:
            return text + stream.finish(), Finish.LENGTH
        return text, None

    def _deliver(self, updates: list[Update]) -> None:
        """(5) One call into the loop for the whole step, or for some steps that follow one another quickly.

        The first token of an answer and its end never wait.
        """
        self._held += updates
        if time.monotonic() >= self._held_until_s or any(map(_is_urgent, updates)):
            self._flush()
        if any(generation.n_generated == 1 for generation, _ in updates):
            time.sleep(_STAND_BACK_S)

    def _flush(self) -> None:
        """Hand over what is held; the next decode overlaps with the writing."""
        if not self._held or self._loop is None:
            return
        updates, self._held = self._held, []
        self._held_until_s = time.monotonic() + _PACE_S
        try:
            self._loop.call_soon_threadsafe(_hand_over, updates)
        except RuntimeError:
            self.stop()  # the loop is closed: the process is ending

    def _broken(self, message: str) -> None:
        with self._changed:
            self._stopping = True
            lost = [*self._slots.generations, *([self._arriving] if self._arriving is not None else [])]
            for request in self._waiting:
                lost.extend(request.generations[request.n_admitted :])
        self._deliver([(generation, Progress("", error=message)) for generation in lost])
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._on_broken, message)


def _is_urgent(update: Update) -> bool:
    generation, progress = update
    return progress.finish is not None or progress.error is not None or generation.n_generated <= 1


def _hand_over(updates: list[Update]) -> None:
    for generation, progress in updates:
        if not generation.cancelled:
            generation.receive(progress)
