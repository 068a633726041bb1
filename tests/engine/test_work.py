"""What passes between the loop and the decode thread."""

import json

from janagent.engine.work import Finish, QueueFull


def test_the_ends_of_an_answer_are_openais_words():
    assert json.dumps([Finish.STOP, Finish.LENGTH]) == '["stop", "length"]'


def test_a_full_queue_says_when_to_come_back():
    assert QueueFull(retry_after_s=4).retry_after_s == 4
