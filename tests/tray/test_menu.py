"""What the menu says of any state: no display, no toolkit."""

from dataclasses import replace

import pytest

from janagent.tray import menu
from janagent.tray.menu import Item, build, title
from janagent.tray.state import Link, Model, View

CONNECTED = View(link=Link.CONNECTED, used_bytes=1_200_000_000, budget_bytes=8_000_000_000, version="1.2.3")


def view(*models: Model) -> View:
    return replace(CONNECTED, models=models)


def labels(items: tuple[Item, ...]) -> list[str]:
    return [item.label or "--" for item in items]


def find(items: tuple[Item, ...], label: str) -> Item:
    found = [item for item in items if item.label == label]
    assert len(found) == 1, labels(items)
    return found[0]


def entry(model: Model) -> Item:
    """The entry of the only model."""
    (found,) = [item for item in build(view(model)) if item.items]
    return found


def choices(model: Model) -> dict[str, bool]:
    return {item.label: item.is_enabled for item in entry(model).items if item.label}


def test_the_menu_of_a_calm_day():
    models = (
        Model("smol", "running", size_bytes=98_362_432),
        Model("big", "downloaded", size_bytes=4_081_004_224),
        Model("new", "downloading", fraction=0.314, bytes_per_s=12e6),
        Model("broken", "invalid", "bad", "ctx_len: 'many' is not a number"),
    )
    assert labels(build(replace(view(*models), start_at_login=True, has_page=True))) == [
        "janagent: 1 running, 1 downloading, 1 with a problem",
        "Memory: 1.2 GB of 8.0 GB",
        "--",
        "Running",
        "✓ smol: running",
        "--",
        "Downloading",
        "new: 31 %, 12.0 MB/s",
        "--",
        "With a problem",
        "broken: ctx_len: 'many' is not a number",
        "--",
        "Downloaded",
        "big: 4.1 GB",
        "--",
        "Open models folder",
        "Add a model…",
        "Pause downloads",
        "Open page",
        "Open logs",
        "--",
        "Start at login",
        "Version 1.2.3",
        "Quit tray",
        "Quit tray and stop janagent",
    ]


def test_without_a_daemon_it_says_so_and_offers_to_start_one():
    items = build(View(link=Link.ABSENT, reason="port 1337 is taken"))
    assert labels(items)[:2] == ["janagent is not running", "port 1337 is taken"]
    assert find(items, "Start janagent").action == menu.StartDaemon()
    assert "Pause downloads" not in labels(items)
    assert find(items, "Quit tray").action == menu.Quit(stops_daemon=False)


@pytest.mark.parametrize(
    ("link", "words"),
    [
        (Link.STARTING, "janagent is starting…"),
        (Link.ENDING, "janagent is stopping…"),
        (Link.REFUSED, "janagent cannot be reached"),
    ],
)
def test_what_is_not_connected_is_said(link: Link, words: str):
    items = build(View(link=link))
    assert items[0] == Item(words, is_enabled=False)
    assert "Start janagent" not in labels(items)


def test_models_of_a_lost_daemon_are_not_shown_as_if_they_were_there():
    assert not any(item.items for item in build(replace(view(Model("m", "running")), link=Link.ABSENT)))


def test_trouble_with_the_last_click_is_a_line():
    assert "memory is short" in labels(build(replace(CONNECTED, trouble="memory is short")))


def test_what_does_not_exist_yet_is_hidden():
    shown = labels(build(CONNECTED))
    assert "Open page" not in shown
    assert "Start at login" not in shown


@pytest.mark.parametrize("enabled", [True, False])
def test_check_marks_say_how_it_is_and_a_click_turns_it(enabled: bool):
    items = build(replace(CONNECTED, start_at_login=enabled, downloads_paused=enabled))
    login, pause = find(items, "Start at login"), find(items, "Pause downloads")
    assert (login.is_checked, login.action) == (enabled, menu.StartAtLogin(not enabled))
    assert (pause.is_checked, pause.action) == (enabled, menu.PauseDownloads(not enabled))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Model("m", "starting", fraction=0.5), "m: loading 50 %…"),
        (Model("m", "starting"), "m: loading…"),
        (Model("m", "stopping"), "m: stopping…"),
        (Model("m", "downloading"), "m: download begins"),
        (Model("m", "downloading", fraction=0.999), "m: 99 %"),
        (Model("m", "missing", "paused", "its download is paused"), "m: paused"),
        (Model("m", "missing", "queued", "later"), "m: waits for other downloads"),
        (Model("m", "missing", "incomplete", "incomplete: 31 % of 4.1 GB"), "m: incomplete: 31 % of 4.1 GB"),
        (Model("m", "failed", "engine_failed", "unknown\narchitecture"), "m: unknown architecture"),
        (Model("m", "failed"), "m: failed"),
        (Model("m", "stopped", is_remote=True), "m: stopped"),
        (Model("m", "running", "bad", "no"), "✓ m: running, but its edit cannot be used"),
        (Model("m", "running", "upstream_timeout", "silent", is_remote=True), "✓ m: running"),
        (Model("m", "downloaded"), "m"),
    ],
)
def test_every_state_has_plain_words(model: Model, words: str):
    assert entry(model).label == words


def test_only_a_running_model_has_a_check_mark():
    assert entry(Model("m", "running")).label == "✓ m: running"
    for state in ("starting", "stopping", "downloaded", "failed"):
        assert "✓" not in entry(Model("m", state)).label


@pytest.mark.parametrize(
    ("model", "possible"),
    [
        (Model("m", "downloaded"), {"Start", "Chat"}),
        (Model("m", "running"), {"Stop", "Chat"}),
        (Model("m", "running", can_chat=False), {"Stop"}),
        (Model("m", "starting"), {"Stop", "Chat"}),
        (Model("m", "stopping"), set()),
        (Model("m", "stopped", is_remote=True), {"Start"}),
        (Model("m", "downloading"), {"Pause download"}),
        (Model("m", "missing", "paused", "p"), {"Resume download", "Show error"}),
        (Model("m", "failed", "engine_failed", "why"), {"Start", "Show error"}),
        (Model("m", "invalid", "bad", "why"), {"Show error"}),
    ],
)
def test_what_can_be_done_with_a_model_depends_on_its_state(model: Model, possible: set[str]):
    always = {"Copy model id", "Open folder"}
    assert {label for label, is_enabled in choices(model).items() if is_enabled} == possible | always


def test_the_choices_always_stand_in_the_same_order():
    names = ["Start", "Stop", "Chat", "Copy model id", "Open folder", "Show error"]
    for state in ("running", "downloaded", "invalid", "failed", "starting"):
        assert list(choices(Model("m", state))) == names


def test_each_choice_names_its_model():
    model = Model("a/b", "downloaded", message="m", folder="models/a/b")
    actions = [item.action for item in entry(model).items if item.label]
    assert actions == [
        menu.StartModel("a/b"),
        menu.StopModel("a/b"),
        menu.Chat("a/b"),
        menu.CopyId("a/b"),
        menu.OpenFolder("models/a/b"),
        menu.ShowError("a/b"),
    ]


def many(count: int, state: str = "downloaded") -> tuple[Model, ...]:
    return tuple(Model(f"m{number:05}", state) for number in range(count))


@pytest.mark.parametrize(("count", "shown", "folded"), [(15, 15, 0), (16, 16, 0), (17, 15, 2), (40, 15, 25)])
def test_more_than_fifteen_models_fold(count: int, shown: int, folded: int):
    items = build(view(*many(count)))
    more = [item for item in items if item.label.startswith("More")]
    assert len([item for item in items if item.label.startswith("m0")]) == shown
    assert [item.label for item in more] == ([f"More ({folded})"] if folded else [])
    if folded:
        assert labels(more[0].items) == ["Downloaded", *(f"m{number:05}" for number in range(15, count))]


def test_what_runs_or_needs_somebody_is_not_folded_away():
    models = (*many(30), Model("z-runs", "running"), Model("z-broken", "invalid"))
    shown = labels(build(view(*models)))
    assert "✓ z-runs: running" in shown
    assert "z-broken: invalid" in shown


def test_ten_thousand_models_make_a_menu_that_can_be_drawn():
    items = build(view(*many(10_000)))
    (more,) = [item for item in items if item.label.startswith("More")]
    assert len(more.items) < 210
    assert more.items[-1].label == "9785 others: janagent ls shows them"


def test_what_files_contain_does_not_reach_the_menu_raw():
    label = entry(Model("a\x1b[2J\u202eb", "invalid", "c", "one\ttwo\r\nthree" + "x" * 200)).label
    assert label.startswith("a [2J b: one two three")
    assert label.isprintable()
    assert len(label) < 120


def test_a_long_id_keeps_its_end():
    label = entry(Model("unsloth/Very-Long-Name-Of-A-Model-That-Goes-On-And-On-Q4_K_M", "running")).label
    assert "Q4_K_M: running" in label
    assert "…" in label


def test_the_shape_stays_while_only_words_change():
    def shape(*models: Model) -> list[object]:
        return [item.shape for item in build(view(*models))]

    assert shape(Model("m", "downloading", fraction=0.1)) == shape(Model("m", "downloading", fraction=0.2))
    assert shape(Model("m", "starting")) == shape(Model("m", "running"))
    assert shape(Model("m", "running")) != shape(Model("n", "running"))


def test_the_title_is_the_first_line():
    for one in (CONNECTED, View(), view(Model("m", "running"))):
        assert build(one)[0].label == title(one)
    assert title(view(Model("m", "downloaded"))) == "janagent: nothing is running"
    assert title(view(Model("m", "starting"))) == "janagent: 1 loading"
