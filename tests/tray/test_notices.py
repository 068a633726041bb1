"""What a person is told, with the time as a number."""

from janagent.tray.notices import FAULT_GAP_S, GAP_S, SETTLE_S, Notice, Notices
from janagent.tray.state import Change, Model

BAD = ("bad_value", "ctx_len: 'many' is not a number")


class Day:
    """Changes and what is shown of them; the clock goes on as told."""

    def __init__(self, *models: Model) -> None:
        self.now = 100.0
        self.models = {model.id: model for model in models}
        self.notices = Notices()
        self.notices.begin(models)

    def see(self, model: Model) -> None:
        self.notices.see(Change(self.models.get(model.id), model), now=self.now)
        self.models[model.id] = model

    def gone(self, model_id: str) -> None:
        self.notices.see(Change(self.models.pop(model_id), None), now=self.now)

    def after(self, seconds: float) -> list[Notice]:
        """What is shown within so many seconds, looked at twice a second."""
        shown = []
        for _ in range(round(2 * seconds)):
            if (notice := self.notices.due(now=self.now)) is not None:
                shown.append(notice)
            self.now += 0.5
        return shown


def test_a_dropped_model_is_ready_once():
    day = Day()
    day.see(Model("m", "missing", "incomplete", "31 %"))
    day.see(Model("m", "downloaded"))
    assert day.after(10) == [Notice("Model ready", "m is ready.")]
    for state in ("starting", "running", "stopping", "downloaded", "running"):
        day.see(Model("m", state))
    assert day.after(60) == []


def test_what_was_there_before_is_no_news():
    day = Day(Model("m", "downloaded"), Model("bad", "invalid", *BAD))
    day.see(Model("m", "running"))
    day.see(Model("bad", "invalid", *BAD))
    assert day.after(60) == []


def test_a_copy_that_ran_when_counting_began_is_told_when_it_is_whole():
    day = Day(Model("m", "missing", "incomplete", "31 %"))
    day.see(Model("m", "downloaded"))
    assert day.after(10) == [Notice("Model ready", "m is ready.")]


def test_a_download_that_finished():
    day = Day()
    day.see(Model("m", "downloading", fraction=0.1))
    day.see(Model("m", "downloading", fraction=0.9))
    day.see(Model("m", "downloaded"))
    day.see(Model("m", "running"))
    assert day.after(60) == [Notice("Download finished", "m is ready.")]


def test_a_download_that_fails_again_and_again_is_told_once():
    day = Day()
    shown = []
    for _ in range(5):
        day.see(Model("m", "downloading"))
        shown += day.after(60)
        day.see(Model("m", "failed", "network", "no route to host"))
        shown += day.after(60)
    assert shown == [Notice("The download of m failed", "no route to host")]
    day.see(Model("m", "downloading"))
    day.see(Model("m", "downloaded"))
    assert day.after(60) == [Notice("Download finished", "m is ready.")]


def test_a_download_that_goes_on_at_once_did_not_fail():
    day = Day()
    day.see(Model("m", "downloading"))
    day.see(Model("m", "failed", "network", "reset"))
    day.see(Model("m", "downloading"))
    assert day.after(60) == []


def test_pausing_is_no_failure():
    day = Day()
    day.see(Model("m", "downloading"))
    day.see(Model("m", "missing", "paused", "its download is paused"))
    assert day.after(60) == []


def test_a_faulty_manifest_is_told_once_per_fault_not_per_save():
    day = Day(Model("m", "downloaded"))
    shown = []
    for _ in range(5):
        day.see(Model("m", "invalid", *BAD))
        shown += day.after(20)
    assert shown == [Notice("m cannot be used", BAD[1])]
    day.see(Model("m", "invalid", "bad_json", "line 3"))
    assert day.after(60) == [Notice("m cannot be used", "line 3")]
    day.see(Model("m", "invalid", *BAD))
    assert day.after(60) == []
    day.see(Model("m", "downloaded"))
    day.see(Model("m", "invalid", *BAD))
    assert day.after(60) == [Notice("m cannot be used", BAD[1])], "it was well in between"


def test_what_is_mended_at_once_is_not_told():
    day = Day(Model("m", "downloaded"))
    day.see(Model("m", "invalid", *BAD))
    assert day.after(SETTLE_S - 0.5) == []
    day.see(Model("m", "downloaded"))
    assert day.after(60) == []


def test_an_editor_that_saves_with_every_key_is_told_little():
    day = Day(Model("m", "downloaded"))
    shown = []
    for line in range(60):
        day.see(Model("m", "invalid", "bad_json", f"line {line}"))
        shown += day.after(2.5)
    assert len(shown) <= 60 * 2.5 / FAULT_GAP_S + 1


def test_an_engine_that_crashed():
    day = Day(Model("m", "running"))
    day.see(Model("m", "failed", "engine_failed", "killed, probably out of memory"))
    assert day.after(10) == [Notice("m crashed", "killed, probably out of memory")]
    day.see(Model("m", "starting"))
    day.see(Model("m", "running"))
    day.see(Model("m", "failed", "engine_failed", "killed, probably out of memory"))
    assert len(day.after(60)) == 1, "another crash is news"


def test_an_engine_that_does_not_load():
    day = Day(Model("m", "downloaded"))
    day.see(Model("m", "starting"))
    day.see(Model("m", "failed", "engine_failed", "unknown architecture"))
    assert day.after(10) == [Notice("m cannot be loaded", "unknown architecture")]


def test_an_edit_that_cannot_be_used_leaves_the_model_running():
    day = Day(Model("m", "running"))
    day.see(Model("m", "running", *BAD))
    assert day.after(10) == [Notice("The edit of m cannot be used", BAD[1])]


def test_many_at_once_are_one_notice():
    day = Day()
    for number in range(100):
        day.see(Model(f"m{number}", "downloaded"))
    (notice,) = day.after(60)
    assert notice.title == "Model ready"
    assert notice.text.startswith("m0 is ready. m1 is ready.")
    assert len(notice.text) <= 240


def test_different_ones_at_once_are_one_notice_too():
    day = Day(Model("a", "running"))
    day.see(Model("a", "failed", "engine_failed", "SIGSEGV"))
    day.after(SETTLE_S - 0.5)
    day.now += GAP_S
    day.see(Model("b", "downloaded"))
    (notice,) = day.after(10)
    assert notice == Notice("janagent: 2 messages", "a crashed: SIGSEGV\nModel ready: b is ready.")


def test_between_two_notices_is_a_pause():
    day = Day()
    day.see(Model("a", "downloaded"))
    assert len(day.after(1)) == 1
    day.see(Model("b", "downloaded"))
    assert day.after(GAP_S - 1.5) == []
    assert len(day.after(5)) == 1


def test_a_model_that_is_removed_takes_what_was_not_told_along():
    day = Day()
    day.see(Model("m", "invalid", *BAD))
    day.gone("m")
    assert day.after(60) == []
    day.see(Model("m", "invalid", *BAD))
    assert len(day.after(60)) == 1, "dropped anew, it is told anew"
