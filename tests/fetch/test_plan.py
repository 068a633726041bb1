"""What a fetch is to bring."""

import dataclasses

import pytest

from janagent.fetch.plan import Plan, RemoteFile


def test_a_file_is_not_the_hubs_unless_said_so() -> None:
    assert RemoteFile("a.gguf", "http://127.0.0.1/a.gguf").is_hub is False


def test_a_plan_cannot_be_changed_once_made() -> None:
    plan = Plan((RemoteFile("a.gguf", "http://127.0.0.1/a.gguf"),))
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.note = "other"  # type: ignore[misc]
