"""The tray as a whole: who runs on which thread, and what a click does.

Main thread: the toolkit. One thread follows the daemon, one draws (at most twice a second, and only what
looks different), a few do what clicks ask for, so that no call to the daemon ever holds the menu.
"""

import logging
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import assert_never
from urllib.parse import quote

from janagent.caller import Endpoint, model_path
from janagent.tray import client, desktop, icon, menu
from janagent.tray.follower import Follower
from janagent.tray.launcher import Launcher
from janagent.tray.notices import Notices
from janagent.tray.options import Given, Options
from janagent.tray.services import Failed, Services
from janagent.tray.shell import SIZE_PX, Shell
from janagent.tray.state import Change, State, View

log = logging.getLogger(__name__)

GAP_S = 0.5
"""Between two drawings."""
TICK_S = 0.5
"""Notices fall due while nothing changes."""
HANDS = 8
"""Clicks that are carried out at one time: a stop takes as long as running answers do."""
_IN_TERMINAL = '"$@" || { echo; echo "Press Enter to close this window."; read _; }'


class App:
    """`run` blocks until somebody quits."""

    def __init__(self, given: Given, options: Options, *, services: Services, temporary: Path) -> None:
        self._given = given
        self._root = Path(options.root)
        self._log_file = Path(options.log_file)
        self._services = services
        self._state = State()
        self._notices = Notices()
        self._notices_lock = threading.Lock()
        self._launcher = Launcher(given, log_file=self._log_file)
        self._follower = Follower(
            given,
            options,
            state=self._state,
            launcher=self._launcher,
            services=services,
            begin=self._begin,
            changed=self._see,
        )
        self._hands = ThreadPoolExecutor(HANDS, thread_name_prefix="click")
        self._shell = Shell(act=self._act, temporary=temporary)
        self._is_over = False
        self._items: tuple[menu.Item, ...] = ()
        self._look: tuple[icon.Mood, icon.Theme] | None = None
        self._title = ""

    def run(self) -> None:
        """Show the tray. Raises what the toolkit raises where it cannot be shown."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: self._end())
        view = self._state.view()
        self._items, self._title = menu.build(view), menu.title(view)
        self._look = icon.mood(view), self._shell.theme()
        picture = icon.draw(*self._look, size_px=SIZE_PX)
        try:
            self._shell.run(picture=picture, title=self._title, items=self._items, ready=self._ready)
        except Exception:
            # Without a notification service pystray's end raises; so it does where its beginning fails.
            if not self._is_over:
                raise

    def _ready(self) -> None:
        if self._is_over:  # a signal came first
            self._shell.stop()
            return
        for work in (self._follower.run, self._draw_forever):
            threading.Thread(target=work, name=work.__name__, daemon=True).start()
        self._do_soon(self._look_at_login)

    def _end(self) -> None:
        self._is_over = True
        self._shell.stop()

    # -- what is seen

    def _draw_forever(self) -> None:
        drawn_at = float("-inf")
        while True:
            is_changed = self._state.wait(TICK_S)
            try:
                if is_changed:
                    time.sleep(max(0.0, drawn_at + GAP_S - time.monotonic()))
                    if self._draw(self._state.view()):
                        drawn_at = time.monotonic()
                self._show_notice()
            except Exception:
                log.exception("drawing the tray failed")

    def _draw(self, view: View) -> bool:
        """Draw what looks different; whether the menu does."""
        look, title, items = (icon.mood(view), self._shell.theme()), menu.title(view), menu.build(view)
        if look != self._look:
            self._look = look
            self._shell.show_icon(icon.draw(*look, size_px=SIZE_PX))
        if title != self._title:
            self._title = title
            self._shell.show_title(title)
        if items == self._items:
            return False
        self._items = items
        self._shell.show_menu(items)
        return True

    def _begin(self) -> None:
        with self._notices_lock:
            self._notices.begin(self._state.view().models)

    def _see(self, changes: list[Change]) -> None:
        with self._notices_lock:
            for change in changes:
                self._notices.see(change, now=time.monotonic())

    def _show_notice(self) -> None:
        with self._notices_lock:
            notice = self._notices.due(now=time.monotonic())
        if notice is not None and self._follower.options.notifications:
            self._shell.notify(notice.title, notice.text)

    # -- what a click does

    def _act(self, action: menu.Action) -> None:
        """On the toolkit's thread: only put it where it will be done."""
        self._do_soon(lambda: self._do(action))

    def _do_soon(self, job: Callable[[], None]) -> None:
        self._hands.submit(self._guarded, job)

    def _guarded(self, job: Callable[[], None]) -> None:
        self._state.set(trouble="")
        try:
            job()
        except (client.Unreachable, client.Refused, desktop.NoProgram, Failed) as error:
            self._tell_trouble(str(error))
        except Exception as error:
            log.exception("a click could not be carried out")
            self._tell_trouble(f"{type(error).__name__}: {error}")

    def _tell_trouble(self, words: str) -> None:
        self._state.set(trouble=words)
        if self._follower.options.notifications:
            self._shell.notify("That did not work", words)

    def _do(self, action: menu.Action) -> None:
        match action:
            case menu.StartModel(id):
                self._call("PUT", model_path(id, "/start?wait=false"))
            case menu.StopModel(id):
                self._call("PUT", model_path(id, "/stop"))
            case menu.Chat(id):
                self._chat(id)
            case menu.CopyId(id):
                self._shell.copy(id)
            case menu.OpenFolder(folder):
                self._open_folder(folder)
            case menu.ShowError(id):
                self._show_error(id)
            case menu.AddModel():
                desktop.open_place(desktop.ADDING)
                self._open_folder(menu.MODELS_FOLDER)
            case menu.PauseDownloads(is_paused):
                self._call("PUT", "/v1/downloads/pause" if is_paused else "/v1/downloads/resume")
            case menu.OpenLogs():
                desktop.open_place(self._log_file if self._log_file.exists() else self._log_file.parent)
            case menu.OpenPage():
                desktop.open_place(f"{self._endpoint().url}/")
            case menu.StartAtLogin(is_wanted):
                self._services.set_login(is_wanted)
                self._look_at_login()
            case menu.StartDaemon():
                self._follower.start_daemon()
            case menu.Quit(stops_daemon):
                self._quit(stops_daemon=stops_daemon)
            case _:
                assert_never(action)

    def _endpoint(self) -> Endpoint:
        endpoint = self._follower.endpoint
        if endpoint is None:
            raise client.Unreachable("janagent is not running")
        return endpoint

    def _call(self, method: str, path: str) -> None:
        client.call(self._endpoint(), method, path)

    def _chat(self, model_id: str) -> None:
        if self._state.view().has_page:
            desktop.open_place(f"{self._endpoint().url}/?model={quote(model_id, safe='')}")
            return
        chat = [sys.executable, "-m", "janagent", "chat", model_id, *self._given.flags()]
        desktop.run_in_terminal(["sh", "-c", _IN_TERMINAL, "sh", *chat])

    def _open_folder(self, folder: str) -> None:
        place = self._root / folder
        if not place.is_dir():
            raise desktop.NoProgram(f"{place} is not there")
        desktop.open_place(place)

    def _show_error(self, model_id: str) -> None:
        for model in self._state.view().models:
            if model.id == model_id and model.message:
                hint = f"The engine's own words: janagent logs {model_id}"
                self._shell.tell(model_id, f"{model.message}\n\n{model.code}. {hint}")

    def _look_at_login(self) -> None:
        self._state.set(start_at_login=self._services.login_enabled())

    def _quit(self, *, stops_daemon: bool) -> None:
        try:
            if stops_daemon:
                self._stop_daemon()
        finally:
            self._end()

    def _stop_daemon(self) -> None:
        if self._services.is_installed():
            self._services.stop()
            return
        try:
            self._call("POST", "/v1/shutdown")
        except client.Unreachable:
            self._launcher.end()
