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
    pace.learn(TILE, TILE * 0.007, least=TILE)
    assert pace.chunk(is_alone=False) == MIN_CHUNK, "nobody knows yet"
    for _ in range(20):
        pace.learn(MIN_CHUNK, MIN_CHUNK * 0.014, least=MIN_CHUNK)
    assert pace.chunk(is_alone=False) == TILE


def test_a_slow_model_is_found_out_and_only_now_and_then_doubted() -> None:
    pace, sizes = Pace(), []
    for _ in range(60):
        sizes.append(pace.chunk(is_alone=False))
        pace.learn(sizes[-1], sizes[-1] * 0.1, least=sizes[-1])
    assert sizes[1] == MIN_CHUNK
    assert sizes.count(MIN_CHUNK) > 0.9 * len(sizes)


def test_one_slow_step_is_soon_forgotten_while_answers_run() -> None:
    pace = Pace()
    pace.learn(512, 512 * 0.004, least=512)
    pace.learn(512, 20.0, least=512)
    for _ in range(40):
        size = pace.chunk(is_alone=False)
        pace.learn(size, size * (0.004 if size >= TILE else 0.006), least=size)
    assert pace.chunk(is_alone=False) == TILE
    assert pace.token_s < 0.0065


def test_long_and_short_chunks_are_told_apart_and_a_few_tokens_teach_nothing() -> None:
    pace = Pace()
    pace.learn(TILE, TILE * 0.002, least=TILE)
    pace.learn(MIN_CHUNK - 1, 0.0, least=MIN_CHUNK - 1)
    pace.learn(4 * 16, 1.0, least=16)
    pace.learn(TILE - 1, 1.0, least=TILE - 1)
    assert 0.0019 < pace.token_s <= 0.002
    pace.learn(TILE, TILE * 0.003, least=TILE)
    assert 0.002 < pace.token_s < 0.003
