"""Rows in order find what looking at each of them finds."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from janagent.engine.prefixes import Prefixes, key_of, n_alike

Row = tuple[int, ...]
ROWS = st.lists(st.integers(-1, 2), min_size=1, max_size=8).map(tuple)


def key(row: Row) -> bytes:
    return key_of(np.array(row, dtype=np.int32))


def shared(one: Row, other: Row) -> int:
    return next(
        (at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


@given(ROWS, ROWS)
def test_the_common_beginning_is_counted_in_tokens(one: Row, other: Row):
    assert n_alike(key(one), key(other)) == shared(one, other)


@given(st.sets(ROWS, max_size=12), st.sets(ROWS, max_size=4), ROWS)
def test_every_look_up_is_that_of_all_rows_one_by_one(rows: set[Row], gone: set[Row], wanted: Row):
    prefixes: Prefixes[Row] = Prefixes()
    for row in rows | gone:
        prefixes.put(key(row), row)
    for row in gone:
        prefixes.remove(key(row))
    left = rows - gone
    shorter = [row for row in left if wanted[: len(row)] == row]
    assert prefixes.shorter(key(wanted)) == max(shorter, key=len, default=None)
    longer = prefixes.longer(key(wanted))
    assert (longer is not None) == any(row[: len(wanted)] == wanted for row in left)
    assert longer is None or longer[: len(wanted)] == wanted
    found = prefixes.most_alike(key(wanted))
    assert (found is None) == (not left)
    if found is not None:
        assert found[1] == shared(found[0], wanted) == max(shared(row, wanted) for row in left)
