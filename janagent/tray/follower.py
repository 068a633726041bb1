"""Follows the daemon: finds it, starts one where none runs, listens to its events, and begins again when it
is lost. One thread; everything it learns goes into `State` and `Notices`.
"""

import logging
import threading
import time
from collections.abc import Callable

from janagent.caller import Endpoint
from janagent.tray import client
from janagent.tray.launcher import Launcher
from janagent.tray.options import BadOptions, Given, Options, read
from janagent.tray.services import Failed, Services
from janagent.tray.state import Change, Link, State

log = logging.getLogger(__name__)

POLL_S = 0.3
"""Between two looks for a daemon."""


class Follower:
    """`run` on a thread of its own; `endpoint` is the daemon that answered last."""

    def __init__(
        self,
        given: Given,
        options: Options,
        *,
        state: State,
        launcher: Launcher,
        services: Services,
        begin: Callable[[], None],
        changed: Callable[[list[Change]], None],
    ) -> None:
        """`begin` is called after each snapshot, `changed` with what other events changed."""
        self._given = given
        self._state = state
        self._launcher = launcher
        self._services = services
        self._begin = begin
        self._changed = changed
        self._start_wanted = threading.Event()
        self._start_wanted.set()  # no daemon when the tray starts: start one
        self._is_known = False
        """The settings were used for a start already, and may be older than the next one."""
        self._wake = threading.Event()
        self._is_ending = False
        """The daemon that was followed ended its stream in order, as one does that begins to end."""
        self.endpoint: Endpoint | None = None
        self.options = options

    def start_daemon(self) -> None:
        """Start one if none runs; called from any thread."""
        self._start_wanted.set()
        self._wake.set()

    def run(self) -> None:
        """For ever."""
        while True:
            try:
                self._once()
            except Exception:
                log.exception("following the daemon failed")
            self._wake.wait(POLL_S)
            self._wake.clear()

    def _once(self) -> None:
        """Look for the daemon and follow it for as long as it is there."""
        try:
            endpoint = client.find(self.options)
        except client.Starting:
            self._start_wanted.clear()
            if not self._launcher.is_running or self._state.view().link is Link.REFUSED:
                self._state.set(reason="")  # else it tells why the one that crashed is started again
            self._state.set(link=self._silent_link())
            return
        if endpoint is None:
            self._see_none()
            return
        try:
            self._follow(endpoint)
        except client.Unreachable:
            self._see_none()
        except client.Refused as refused:
            self._see_refusal(refused)

    def _follow(self, endpoint: Endpoint) -> None:
        """Listen until the stream ends."""
        for kind, data in client.events(endpoint):
            if kind != "snapshot":
                self._changed(self._state.apply(kind, data))
                continue
            self.endpoint, self._is_ending = endpoint, False
            self._start_wanted.clear()
            self._launcher.give_up()
            self._state.set(has_page=client.has_page(endpoint))
            self._state.apply(kind, data)
            self._begin()
        self._is_ending = True
        self._state.set(link=Link.ENDING, reason="")

    def _see_refusal(self, refused: client.Refused) -> None:
        if refused.status in (0, 404):
            self._see_none()  # another program has our port: a start will say so
            return
        self._start_wanted.clear()
        self._state.set(link=Link.REFUSED, reason=str(refused))
        self._reload()
        self._wake.wait(10 * POLL_S)

    def _reload(self) -> None:
        """The settings may have changed since the daemon was started with other ones."""
        try:
            self.options = read(self._given)
        except BadOptions as error:
            self._state.set(reason=str(error))

    def _see_none(self) -> None:
        """Nobody answers: say so, and start a daemon if that is wanted."""
        now = time.monotonic()
        if (why := self._launcher.ended(now=now)) is not None:
            self._state.set(reason=why)
        self._is_ending &= self._launcher.is_running
        if (is_asked := self._start_wanted.is_set()) or self._launcher.again(now=now):
            self._start_wanted.clear()
            self._start(now=now, is_asked=is_asked)
        self._state.set(link=self._silent_link() if self._launcher.is_running else Link.ABSENT)

    def _silent_link(self) -> Link:
        """What one is about that is there but does not answer."""
        return Link.ENDING if self._is_ending else Link.STARTING

    def _start(self, *, now: float, is_asked: bool) -> None:
        if is_asked and self._is_known:
            self._reload()
        self._is_known = True
        self._state.set(link=Link.STARTING)
        if is_asked:
            self._state.set(reason="")
        try:
            if self._services.is_installed():
                self._services.start()  # returns when it answers
            else:
                self._launcher.start(now=now)
        except (OSError, Failed) as error:
            self._state.set(reason=f"janagent cannot be started: {error}")
