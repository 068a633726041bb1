"""What a decode step computes: a token for each running answer, guesses at further ones, chunks of prompts.

Belongs to the decode thread; called by `scheduler`. Fills the context's batch and notes in each slot what of
it is there and where its logits come out.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from janagent.engine.context import Context
from janagent.engine.drafts import MAX_OUTPUTS, NOTHING, Costs, best_length, look_up
from janagent.engine.pace import TILE, Pace
from janagent.engine.slots import Slot, share_budget


class Filled(NamedTuple):
    """Prompt tokens in the batch, answers, guessed tokens for each of them, and the smallest prompt chunk."""

    n_prefill: int
    n_answers: int
    n_draft: int = 0
    least_chunk: int = 0


def fill(context: Context, active: Sequence[Slot], *, pace: Pace, costs: Costs) -> Filled:
    """Fill the batch for the slots of `active`, in the order of their sequences, as llama.cpp wants them."""
    context.clear_batch()
    n_answers = sum(not slot.n_prefill for slot in active)
    if n_answers == len(active):
        return _add_answers(context, active, costs)
    prefilling = [slot for slot in active if slot.n_text]
    chunk = pace.chunk(is_alone=not n_answers)
    sizes = _shares([slot.n_text for slot in prefilling], chunk, n_answers, room=context.room - n_answers)
    shares = {slot.seq_id: size for slot, size in zip(prefilling, sizes, strict=True)}
    for slot in active:
        slot.batch_index, slot.guess, slot.n_pending = -1, NOTHING, 0
        if not slot.n_prefill:
            _add_answer(context, slot, 0)
        elif shares.get(slot.seq_id):
            _add_chunk(context, slot, shares[slot.seq_id])
    least = min((size for size in sizes if size), default=0)
    return Filled(context.n_tokens - n_answers, n_answers, least_chunk=least)


def _shares(remaining: Sequence[int], chunk: int, n_answers: int, *, room: int) -> list[int]:
    """How many tokens of each prompt to compute: of `chunk` what each may have, in whole tiles where there
    are any, as far as `room` reaches.

    Beside answers llama.cpp takes one token of each sequence first, so a tile needs one more. What would be
    left of a lone prompt, if less than a tile, comes along: there it takes a fraction of the time.
    """
    budget = min(room, chunk)
    shares = share_budget(remaining, budget, unit=TILE if budget >= TILE else 1)
    room -= sum(shares)
    is_lone = sum(share > 0 for share in shares) == 1
    for at, (left, share) in enumerate(zip(remaining, shares, strict=True)):
        rest = left - share
        if share < TILE or not rest:
            continue
        more = rest if is_lone and rest < TILE else int(n_answers > 0)
        if more <= room:
            shares[at], room = share + more, room - more
    return shares


def _add_answers(context: Context, active: Sequence[Slot], costs: Costs) -> Filled:
    """Without prompts beside them, answers may come with drafts: all of one length or none, because llama.cpp
    computes sequences together only as far as they have equally many tokens."""
    most = min(MAX_OUTPUTS, context.room) // len(active) - 1 if context.can_draft else 0
    for slot in active:
        slot.tokens[slot.n_past] = slot.next_token
        slot.guess = look_up(slot.tokens[: slot.n_past + 1], at_most=min(most, _allowed(slot)))
    guesses = [slot.guess for slot in active]
    chances = [slot.evidence.chance(slot.guess.run) for slot in active]
    length = best_length(len(active), guesses, chances, costs)
    if not length and all(guess.tokens.size for guess in guesses):
        costs.skipped(len(active))
    for slot in active:
        _add_answer(context, slot, length)
    return Filled(0, len(active), length)


def _allowed(slot: Slot) -> int:
    """How many tokens may come after the next one; none where the same answer is to come again, as a token
    computed among others may differ in its last bits."""
    generation = slot.generation
    if generation is None or generation.sampling.seed is not None:
        return 0
    return min(generation.max_tokens - generation.n_generated - 1, slot.tokens.size - slot.n_past - 2)


def _add_answer(context: Context, slot: Slot, n_draft: int) -> None:
    slot.draft = slot.guess.tokens[:n_draft]
    if not n_draft:
        index = context.add_token(slot.next_token, position=slot.position, seq_id=slot.seq_id)
        slot.put(slot.next_token, batch_index=index)
        return
    tokens = np.concatenate((np.array([slot.next_token], dtype=np.int32), slot.draft))
    last = context.add_tokens(tokens, position=slot.position, seq_id=slot.seq_id, want_all=True)
    slot.put(tokens, batch_index=last - n_draft)


def _add_chunk(context: Context, slot: Slot, size: int) -> None:
    assert slot.generation is not None
    slot.draft = NOTHING.tokens
    prompt = slot.generation.prompt
    chunk = prompt[slot.n_past : slot.n_past + size]
    is_last = slot.n_past + size == prompt.size
    index = context.add_tokens(chunk, position=slot.position, seq_id=slot.seq_id, want_last=is_last)
    slot.put(chunk, batch_index=index if is_last else -1)
