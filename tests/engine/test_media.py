"""Media between tokens: ids, places and positions."""

import numpy as np

from janagent.engine.media import (
    MediaRun,
    content_ids,
    joined,
    next_start,
    position_of,
    run_at,
    whole_runs,
)


def tokens(*ids: int):
    return np.array(ids, dtype=np.int32)


def run(size: int, **fields) -> MediaRun:
    return MediaRun(embeddings=np.zeros((size, 4), np.float32), **{"n_positions": size, **fields})


def gridded(rows: int, columns: int) -> MediaRun:
    row, column = np.divmod(np.arange(rows * columns), columns)
    offsets = np.stack((np.zeros_like(row), row, column, np.zeros_like(row))).astype(np.int32)
    return run(rows * columns, offsets=offsets, n_positions=max(rows, columns), n_moving=3)


def test_a_prompt_has_ids_of_the_content_where_media_stand():
    prompt = joined([tokens(1, 2), (b"cat", (tokens(7), run(3), tokens(8))), tokens(3)])
    assert prompt.tokens.tolist()[:3] == [1, 2, 7]
    assert prompt.tokens.tolist()[6:] == [8, 3]
    assert (prompt.tokens[3:6] < 0).all()
    assert [(placed.start, placed.end) for placed in prompt.media] == [(3, 6)]


def test_ids_are_the_same_for_the_same_content_and_others_for_another():
    assert content_ids(b"cat", 0, 9).tolist() == content_ids(b"cat", 0, 9).tolist()
    assert not np.intersect1d(content_ids(b"cat", 0, 100), content_ids(b"dog", 0, 100)).size
    assert not np.intersect1d(content_ids(b"cat", 0, 100), content_ids(b"cat", 1, 100)).size
    assert (content_ids(b"cat", 0, 10_000) < 0).all()


def test_an_empty_prompt_is_one():
    assert joined([]).tokens.size == 0


def test_the_medium_at_an_index_and_the_next_one_are_found():
    media = joined([tokens(1), (b"a", (run(2),)), tokens(2, 3), (b"b", (run(2),)), tokens(4)]).media
    assert [run_at(media, i) is not None for i in range(8)] == [
        False,
        True,
        True,
        False,
        False,
        True,
        True,
        False,
    ]
    assert [next_start(media, i, default=8) for i in (0, 1, 3, 5, 7)] == [1, 1, 5, 5, 8]


def test_positions_count_on_where_a_medium_takes_as_many_as_it_has_tokens():
    media = joined([tokens(1), (b"a", (run(3),)), tokens(2)]).media
    assert [position_of(media, i) for i in range(6)] == [0, 1, 2, 3, 4, 5]
    assert media[0].run.positions(1, 2, first=10).tolist() == [11, 12]


def test_a_picture_in_two_dimensions_takes_as_many_positions_as_its_longer_side():
    media = joined([tokens(1, 1), (b"a", (gridded(2, 3),)), tokens(2, 2)]).media
    assert [position_of(media, i) for i in (0, 1)] == [0, 1]
    assert [position_of(media, i) for i in range(2, 8)] == [2] * 6
    assert [position_of(media, i) for i in (8, 9)] == [5, 6]
    assert media[0].run.positions(1, 3, first=2).tolist() == [[2, 2, 2], [2, 2, 3], [3, 4, 2], [0, 0, 0]]


def test_a_sequence_is_cut_inside_a_medium_only_where_that_can_be_gone_on_from():
    for piece, kept in ((run(3), 3), (run(3, is_causal=False), 2), (gridded(1, 3), 2)):
        media = joined([tokens(1, 1), (b"a", (piece,)), tokens(2)]).media
        assert [whole_runs(media, keep) for keep in (1, 2, 5, 6)] == [1, 2, 5, 6]
        assert whole_runs(media, 3) == kept
