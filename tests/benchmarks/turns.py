"""Two chats of ten turns each, turn by turn in each other's presence: how long until each answer begins.

Every turn brings the whole chat again, with what this very server answered, as chat front ends do.
"""

import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.benchmarks import peers
from tests.benchmarks.calm import in_turns
from tests.benchmarks.load import ask, body
from tests.benchmarks.peers import Peer
from tests.benchmarks.report import Line, Plan, Section, spread, verdict

TURNS = 10
TOKENS = 24
SYSTEM = "You tell travellers about the towns of one small country, in short sentences."
QUESTIONS = (
    "Which town do you like best, and what does one see there first?",
    "How does one get there from the coast?",
    "What do people eat there in winter?",
    "Is there a market, and on which day?",
    "Who was the most famous person of that town?",
)


@dataclass
class Chat:
    """One conversation as its front end keeps it."""

    number: int
    messages: list[dict[str, Any]] = field(default_factory=list)

    def request(self, peer: Peer, turn: int) -> dict[str, Any]:
        """The next turn: the chat so far and one more question."""
        question = f"Traveller {self.number}, question {turn}: {QUESTIONS[turn % len(QUESTIONS)]}"
        self.messages.append({"role": "user", "content": question})
        asked = body(peer.target, "", tokens=TOKENS)
        return asked | {"messages": [{"role": "system", "content": SYSTEM}, *self.messages]}

    def heard(self, text: str) -> None:
        """The answer, which the next turn brings back."""
        self.messages.append({"role": "assistant", "content": text})


async def measure(plan: Plan) -> Section:
    """First-token times of all turns against llama-server."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="jan-bench-"))
        ours = await stack.enter_async_context(peers.daemon(peers.make_root(Path(folder))))
        theirs = await stack.enter_async_context(peers.llama_server_peer())
        rounds = await in_turns(plan, (ours, theirs), max(2, plan.rounds - 2), _chats)
    later = [mine / other for a, b in rounds for mine, other in zip(a[2:], b[2:], strict=True)]
    ratio = spread(later)
    lines = [
        Line(
            "first token of a turn against llama-server",
            ratio.text(2, "x"),
            "<= 1.0x",
            verdict(ok=ratio.middle <= 1),
        )
    ]
    for place, name in enumerate(("janagent", "llama-server")):
        times = spread([1000 * first for pair in rounds for first in pair[place][2:]])
        lines.append(Line(f"- {name}: from the second turn on", times.text(0, " ms")))
    return Section("Two chats of ten turns", f"In turns, {TOKENS} tokens an answer.", lines)


async def _chats(peer: Peer, number: int, attempt: int) -> list[float]:
    """First-token times, the turns of both chats in turn."""
    firsts = []
    first = number * 100 + attempt * 10
    chats = [Chat(first), Chat(first + 5)]
    for turn in range(TURNS):
        firsts += [await _turn(peer, chat, turn) for chat in chats]
    print(f"  {peer.name}: {' '.join(f'{first * 1000:.0f}' for first in firsts)} ms", file=sys.stderr)
    return firsts


async def _turn(peer: Peer, chat: Chat, turn: int) -> float:
    async with peer.target.session() as session:  # a new connection, as an idle one may be closed meanwhile
        answer = await ask(session, peer.target, chat.request(peer, turn))
    if answer.broken:
        raise RuntimeError(answer.broken)
    chat.heard(answer.text)
    return answer.first_token_s
