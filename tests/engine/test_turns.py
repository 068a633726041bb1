"""Which turns of a long chat stay."""

from hypothesis import given
from hypothesis import strategies as st

from janagent.engine.turns import first_kept, n_system, next_turn

CHAT = ["system", "user", "assistant", "user", "assistant", "tool", "assistant", "user"]


def test_a_chat_with_room_stays_whole():
    assert first_kept(CHAT, [10] * 8, ctx_len=200) == 1
    assert first_kept([], [], ctx_len=200) == 0
    assert first_kept(["system"], [500], ctx_len=200) == 1


def test_the_oldest_turns_go_whole():
    assert first_kept(CHAT, [10, 20, 20, 5, 5, 5, 5, 10], ctx_len=100) == 3
    assert first_kept(CHAT, [10, 10, 10, 10, 10, 10, 10, 60], ctx_len=100) == 7


def test_the_last_turn_stays_however_long_it_is():
    assert first_kept(CHAT, [10] * 7 + [500], ctx_len=100) == 7
    assert first_kept(["user"], [500], ctx_len=100) == 0


def test_turns_begin_with_what_the_user_says():
    assert n_system(CHAT) == 1
    assert n_system(["system", "developer"]) == 2
    assert next_turn(CHAT, 1) == 3
    assert next_turn(CHAT, 3) == 7
    assert next_turn(CHAT, 7) is None


@given(st.lists(st.integers(1, 60), min_size=1, max_size=60))
def test_the_cut_moves_seldom_and_only_forward(sizes: list[int]):
    """So that a chat that grows by a turn finds its beginning in the cache."""
    cuts = []
    for n in range(1, len(sizes) + 1):
        roles = ["user", "assistant"] * n
        both = [size for size in sizes[:n] for _ in range(2)]
        cut = first_kept(roles, both, ctx_len=400)
        kept = sum(both[cut:])
        assert kept <= 300 or cut == 2 * (n - 1)
        if cuts and cut != cuts[-1]:
            assert cut > cuts[-1]
            assert sum(both[cuts[-1] :]) > 300
        cuts.append(cut)
