"""How many threads llama.cpp gets."""

import os

import psutil

from janagent.engine.threads import usable_cores


def test_it_is_at_least_one_and_at_most_the_physical_cores_that_may_be_used():
    physical = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    assert 1 <= usable_cores() <= physical
