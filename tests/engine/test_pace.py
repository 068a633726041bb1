"""How much of a prompt a step takes: whole tiles, wherever that does not hold up others for long."""

import pytest

from janagent.engine.pace import MIN_CHUNK, TILE, Pace


@pytest.mark.parametrize(
    ("token_s", "is_alone", "size"),
    [(0.001, False, 3 * TILE), (0.001, True, 9 * TILE), (0.003, False, TILE), (0.00001, False, 312 * TILE)],
)
def test_a_quick_model_takes_as_many_whole_tiles_as_the_time_allows(
    token_s: float, is_alone: bool, size: int
) -> None:
    assert Pace(token_s).chunk(is_alone=is_alone) == size


def test_a_slow_model_takes_few_tokens_beside_answers_and_a_tile_alone() -> None:
    assert Pace(0.1).chunk(is_alone=False) == MIN_CHUNK
    assert Pace(0.1).chunk(is_alone=True) == TILE


def test_where_few_tokens_take_as_long_as_a_tile_the_tile_is_taken() -> None:
    """Deep in a context most of the time is attention, and three times as much of it without a tile."""
    pace = Pace(0.007)
    assert pace.chunk(is_alone=False) == MIN_CHUNK, "nobody knows yet"
    for _ in range(20):
        pace.learn(MIN_CHUNK, MIN_CHUNK * 0.014)
    assert pace.chunk(is_alone=False) == TILE


def test_long_and_short_chunks_are_told_apart_and_a_few_tokens_teach_nothing() -> None:
    pace = Pace(0.002)
    pace.learn(TILE - 1, 1.0)
    pace.learn(MIN_CHUNK - 1, 1.0)
    assert pace.token_s == 0.002
    pace.learn(TILE, TILE * 0.004)
    assert 0.002 < pace.token_s < 0.004
