"""`janagent.http.context`: the limits that the contract fixes."""

from janagent.config import Settings
from janagent.http.context import Limits


def test_the_limits_are_the_contracts() -> None:
    limits = Limits()
    assert limits.stall_s == 60
    assert limits.heartbeat_s == 15
    assert limits.max_body_bytes == Settings.load({}).max_body_bytes
