import threading

import pytest

from janagent.tray.state import Change, Link, Model, State

MACHINE = {
    "memory_used_bytes": 5,
    "memory_budget_bytes": 7,
    "downloads_paused": True,
    "version": "1.2.3",
}


def body(model_id: str, state: str = "downloaded", **more: object) -> dict[str, object]:
    """A model object as the API has it, less what the tray does not read."""
    binaries = [{"path": f"models/{model_id}/m.gguf", "size_bytes": 9, "role": "model", "shared": False}]
    whole = {"path": f"models/{model_id}/{model_id}.json", "binaries": binaries, "capabilities": ["chat"]}
    return {"id": model_id, "state": state, **whole, **more}


@pytest.fixture
def state() -> State:
    made = State()
    made.apply("snapshot", {"models": [body("b"), body("a", "running")], "machine": MACHINE})
    return made


def test_before_anything_was_said_there_is_no_daemon():
    view = State().view()
    assert (view.link, view.models, view.start_at_login) == (Link.ABSENT, (), None)


def test_a_snapshot_is_the_whole_picture(state: State):
    view = state.view()
    assert [model.id for model in view.models] == ["a", "b"]
    assert (view.link, view.used_bytes, view.budget_bytes) == (Link.CONNECTED, 5, 7)
    assert (view.downloads_paused, view.version) == (True, "1.2.3")


def test_a_second_snapshot_forgets_what_is_not_in_it(state: State):
    assert state.apply("snapshot", {"models": [body("c")], "machine": MACHINE}) == []
    assert [model.id for model in state.view().models] == ["c"]


def test_an_event_tells_what_was_before_and_after(state: State):
    (change,) = state.apply("model", body("b", "running"))
    assert change.before is not None
    assert change.after is not None
    assert (change.before.state, change.after.state) == ("downloaded", "running")
    (gone,) = state.apply("removed", {"id": "b"})
    assert gone == Change(change.after, None)
    (new,) = state.apply("model", body("n"))
    assert new.before is None


def test_an_event_that_changes_nothing_seen_is_no_change(state: State):
    assert state.apply("model", body("b", created=77)) == []
    assert state.apply("removed", {"id": "never"}) == []
    assert state.apply("something new", {"what": "ever"}) == []


def test_a_lost_daemon_takes_its_models_along(state: State):
    state.set(link=Link.ABSENT, reason="why")
    assert state.view().models == ()
    assert state.view().reason == "why"
    state.apply("snapshot", {"models": [], "machine": MACHINE})
    assert state.view().reason == ""


def test_a_model_object_is_read_for_what_the_menu_shows():
    progress = {"done_bytes": 31, "total_bytes": 100, "bytes_per_s": 12e6}
    model = Model.of(body("m", "downloading", size_bytes=9, progress=progress))
    assert (model.fraction, model.bytes_per_s, model.size_bytes) == (0.31, 12e6, 9)
    assert (model.folder, model.can_chat, model.is_remote) == ("models/m", True, False)
    assert Model.of(body("m", error={"code": "c", "message": "words"})).message == "words"
    assert Model.of(body("m", last_error={"code": "c", "message": "words"})).code == "c"
    assert not Model.of(body("m", capabilities=["embeddings"])).can_chat


def test_a_remote_model_has_no_files_and_can_chat():
    model = Model.of({"id": "r", "state": "running", "path": "models/r.json", "binaries": []})
    assert (model.is_remote, model.can_chat, model.folder) == (True, True, "models")
    assert not Model.of({"id": "m", "state": "missing", "binaries": []}).is_remote


@pytest.mark.parametrize(
    ("state", "code", "is_waiting", "is_faulty"),
    [
        ("missing", "paused", True, False),
        ("missing", "queued", True, False),
        ("missing", "incomplete", False, True),
        ("failed", "engine_failed", False, True),
        ("invalid", "bad_value", False, True),
        ("running", "bad_value", False, False),
    ],
)
def test_what_waits_is_not_faulty(state: str, code: str, is_waiting: bool, is_faulty: bool):
    model = Model("m", state, code)
    assert (model.is_waiting, model.is_faulty) == (is_waiting, is_faulty)


def test_whoever_draws_is_woken_by_a_change_and_only_once(state: State):
    assert state.wait(0)
    assert not state.wait(0)
    woken = threading.Timer(0.05, lambda: state.apply("removed", {"id": "a"}))
    woken.start()
    assert state.wait(10)
    woken.join()
