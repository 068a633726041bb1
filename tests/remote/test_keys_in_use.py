"""Keys that come, change and go while a real daemon runs: what a model's state and its requests say of it."""

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.daemons import Daemon, chat_body, stream_chat, text_of, until
from tests.remote.models import ask, manifest, put
from tests.remote.upstream import DONE, KEY, Upstream, chunk, opened, shown

NUMBERS = itertools.count()
NEW_KEY = "sk-new-Ab1Cd2Ef3Gh4"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the key will be."""
    return tmp_path / "key"


@pytest.fixture
def name() -> str:
    """An id that no other test uses, whose states of before would be seen."""
    return f"model-{next(NUMBERS)}"


def write(file: Path, key: str, *, mode: int = 0o600) -> None:
    """As a secret's manager does: whole and private from its first moment."""
    new = file.with_name("new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as out:
        os.fchmod(out.fileno(), mode)
        out.write(key + "\n")
    new.rename(file)


def refusal(daemon: Daemon, name: str) -> str:
    """The message of a request that is turned away for want of a key."""
    status, answer = ask(daemon, name)
    assert (status, answer["error"]["code"]) == (409, "key_missing"), answer
    message: str = answer["error"]["message"]
    return message


def failed(daemon: Daemon, name: str, text: dict[str, Any]) -> str:
    """Drop a manifest without a usable key; returns the words in the model's `error`."""
    daemon.drop(name, text)
    model = daemon.wait_state(name, "failed")
    assert model["error"]["code"] == "key_missing"
    message: str = model["error"]["message"]
    return message


def openings(daemon: Daemon, name: str) -> int:
    """How many times an engine was made for the model."""
    _, text = daemon.call("GET", f"/v1/models/{name}/logs")
    return text.count("requests go to")


# -- files ----------------------------------------------------------------------------------------


def test_a_file_that_appears_makes_the_model_run_by_itself(
    near: Daemon, upstream: Upstream, file: Path, name: str
) -> None:
    words = failed(near, name, manifest(upstream.url, key=f"file:{file}"))
    assert words == f"{file}, which should hold the key, cannot be read: No such file or directory"
    write(file, KEY)
    model = near.wait_state(name, "running")
    assert "error" not in model
    assert not upstream.calls, "nothing is asked to find out"
    assert ask(near, name)[0] == 200


def test_a_request_right_after_the_file_s_appearance_does_not_wait(
    near: Daemon, upstream: Upstream, file: Path, name: str
) -> None:
    failed(near, name, manifest(upstream.url, key=f"file:{file}"))
    for _ in range(6):
        assert str(file) in refusal(near, name)
    write(file, KEY)
    assert ask(near, name)[0] == 200
    assert near.state(name) == "running"


def test_a_file_s_new_content_counts_for_the_next_request(
    near: Daemon, upstream: Upstream, file: Path, name: str
) -> None:
    write(file, KEY)
    put(near, name, manifest(upstream.url, key=f"file:{file}"), origin=upstream.url)
    assert ask(near, name)[0] == 200
    write(file, NEW_KEY)
    upstream.key = NEW_KEY
    assert ask(near, name)[0] == 200
    assert [shown(call.headers) for call in upstream.calls] == [KEY, NEW_KEY]
    assert openings(near, name) == 1, "nothing was started anew"


def test_a_file_that_vanishes_turns_requests_away_until_it_is_back(
    near: Daemon, upstream: Upstream, file: Path, name: str
) -> None:
    write(file, KEY)
    put(near, name, manifest(upstream.url, key=f"file:{file}"), origin=upstream.url)
    assert ask(near, name)[0] == 200
    file.unlink()
    assert f"{file}, which should hold the key, cannot be read" in refusal(near, name)
    model = near.wait_state(name, "failed")
    assert model["error"]["code"] == "key_missing"
    assert str(file) in model["error"]["message"]
    assert str(file) in refusal(near, name), "the second time too"
    write(file, KEY)
    assert ask(near, name)[0] == 200
    assert len(upstream.calls) == 2


def test_answers_that_run_are_not_cut_when_the_key_goes(
    near: Daemon, upstream: Upstream, file: Path, name: str
) -> None:
    write(file, KEY)
    may_end, has_begun = threading.Event(), threading.Event()

    async def on_and_on(request: web.Request, _body: object) -> web.StreamResponse:
        response = await opened(request)
        while not may_end.is_set():
            await response.write(chunk("more "))
            has_begun.set()
            await asyncio.sleep(0.01)
        await response.write(DONE)
        return response

    upstream.answer = on_and_on
    near.drop(name, manifest(upstream.url, key=f"file:{file}"))
    near.wait_state(name, "running")

    async def stream() -> str:
        async with aiohttp.ClientSession() as session:
            return text_of(await stream_chat(session, near.url, chat_body(name)))

    with ThreadPoolExecutor() as pool:
        running = pool.submit(asyncio.run, stream())
        assert has_begun.wait(20)
        file.unlink()
        refusal(near, name)
        near.wait_state(name, "failed")
        may_end.set()
        assert running.result(20).startswith("more ")


def test_a_file_that_everybody_may_read_is_refused_with_the_remedy(
    near: Daemon, upstream: Upstream, file: Path, name: str
) -> None:
    write(file, KEY, mode=0o644)
    words = failed(near, name, manifest(upstream.url, key=f"file:{file}"))
    assert words == f"{file} holds a key, but everybody may read it: chmod o-r {file}"
    assert words in refusal(near, name)
    file.chmod(0o640)
    assert ask(near, name)[0] == 200


def test_a_running_model_s_file_that_is_opened_to_everybody_is_refused(
    near: Daemon, upstream: Upstream, file: Path, name: str
) -> None:
    write(file, KEY)
    put(near, name, manifest(upstream.url, key=f"file:{file}"), origin=upstream.url)
    file.chmod(0o604)
    assert f"chmod o-r {file}" in refusal(near, name)
    assert not upstream.calls


# -- what is never there --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("${NOT_SET_KEY}", "the variable NOT_SET_KEY is not set"),
        ("${SECRET}", "may not use the variable SECRET"),
        ("${JANAGENT_API_KEY}", "may not use the variable JANAGENT_API_KEY"),
        ("${TEST_KEY", "not of the form ${NAME}"),
        ("file:relative", "by its whole path"),
        ("keyring:nothing", "keyring:service/user"),
        ("two words", "one word of visible ASCII"),
    ],
)
def test_a_reference_that_leads_nowhere_says_what_is_wrong(
    near: Daemon, upstream: Upstream, name: str, key: str, words: str
) -> None:
    assert words in failed(near, name, manifest(upstream.url, key=key))
    assert words in refusal(near, name)
    assert not upstream.calls


@pytest.mark.parametrize(
    ("origin", "form"),
    [
        ("https://api.openai.com", "openai"),
        ("api.openai.com", "openai"),
        ("https://docs-test-001.openai.azure.com/", "azure_openai"),
        ("https://x.cognitiveservices.azure.com/openai/v1", "azure_openai"),
    ],
)
def test_where_nobody_gets_in_without_a_key_a_manifest_without_one_fails(
    near: Daemon, name: str, origin: str, form: str
) -> None:
    text = {**manifest(origin, key=None), "import_format": form}
    words = failed(near, name, text)
    assert "lets nobody in without a key: set API-KEY in the manifest" in words
    assert words in refusal(near, name)


def test_elsewhere_none_is_needed(near: Daemon, name: str) -> None:
    with Upstream() as open_to_all:
        put(near, name, manifest(open_to_all.url, key=None), origin=open_to_all.url)
        assert ask(near, name)[0] == 200
        assert {"Authorization", "api-key"}.isdisjoint(open_to_all.last.headers)


def test_start_says_why_it_does_not(near: Daemon, upstream: Upstream, file: Path, name: str) -> None:
    failed(near, name, manifest(upstream.url, key=f"file:{file}"))
    for _ in range(3):
        status, answer = near.call("PUT", f"/v1/models/{name}/start")
        assert (status, answer["error"]["code"]) == (409, "key_missing")
        assert str(file) in answer["error"]["message"]
    status, model = near.call("PUT", f"/v1/models/{name}/start?wait=false")
    assert (status, model["id"]) == (202, name)
    write(file, KEY)
    status, model = near.call("PUT", f"/v1/models/{name}/start")
    assert (status, model["state"]) == (200, "running")


def test_start_may_bring_the_key_that_the_manifest_lacks(near: Daemon, upstream: Upstream, name: str) -> None:
    failed(near, name, manifest(upstream.url, key="${NOT_SET_KEY}"))
    body = {"model_parameters": {"init": {"API-KEY": KEY}}}
    status, model = near.call("PUT", f"/v1/models/{name}/start", body)
    assert (status, model["state"]) == (200, "running")
    assert ask(near, name)[0] == 200
    assert near.call("PUT", f"/v1/models/{name}/stop")[0] == 200
    status, answer = near.call("PUT", f"/v1/models/{name}/start")
    assert (status, answer["error"]["code"]) == (409, "key_missing"), "it held until the stop"


def test_an_edit_that_names_a_good_key_mends_it(near: Daemon, upstream: Upstream, name: str) -> None:
    failed(near, name, manifest(upstream.url, key="${NOT_SET_KEY}"))
    near.drop(name, manifest(upstream.url))
    near.wait_state(name, "running")
    until(lambda: ask(near, name)[0] == 200)


# -- the desktop's keyring ------------------------------------------------------------------------


class Desktop:
    """A session bus with GNOME's keyring on it, which is the Secret Service of most desktops; a context
    manager. It has no display, on which a locked keyring would ask its owner."""

    def __init__(self, folder: Path) -> None:
        hidden = ("DISPLAY", "WAYLAND_DISPLAY")
        self.env = {name: value for name, value in os.environ.items() if name not in hidden}
        self.env |= {"HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)}
        self.env |= {f"XDG_{name}_HOME": str(folder / name.lower()) for name in ("DATA", "CACHE", "CONFIG")}
        self._ends = ExitStack()

    def __enter__(self) -> "Desktop":
        bus = self._start("dbus-daemon", "--session", "--nofork", "--print-address")
        assert bus.stdout is not None
        self.env["DBUS_SESSION_BUS_ADDRESS"] = bus.stdout.readline().strip()
        keyring = self._start("gnome-keyring-daemon", "--foreground", "--unlock", "--components=secrets")
        assert keyring.stdin is not None
        keyring.stdin.write("the password of its owner")
        keyring.stdin.close()
        until(lambda: self._run("import keyring; keyring.get_password('no', 'one')").returncode == 0)
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    def _start(self, *command: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            command,
            env=self.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._ends.enter_context(process)
        self._ends.callback(process.send_signal, signal.SIGTERM)
        return process

    def _run(self, program: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-c", program, *arguments]
        return subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=60, check=False)

    def keep(self, service: str, user: str, key: str) -> None:
        """What `keyring set` does."""
        done = self._run("import keyring, sys; keyring.set_password(*sys.argv[1:])", service, user, key)
        assert not done.returncode, done.stderr

    def lock(self) -> None:
        done = self._run("import secretstorage as s; s.get_default_collection(s.dbus_init()).lock()")
        assert not done.returncode, done.stderr


@pytest.fixture
def desktop(tmp_path: Path) -> Iterator[Desktop]:
    folder = tmp_path / "desktop"
    folder.mkdir(mode=0o700)
    with Desktop(folder) as running:
        yield running


def daemon_on(folder: Path, env: Mapping[str, str]) -> Daemon:
    """A daemon whose session is that desktop's."""
    bus = {"DBUS_SESSION_BUS_ADDRESS": env["DBUS_SESSION_BUS_ADDRESS"]}
    return Daemon(folder, env=bus, spare_worker=False)


def test_a_key_in_the_desktop_s_keyring(
    tmp_path: Path, desktop: Desktop, upstream: Upstream, name: str
) -> None:
    with daemon_on(tmp_path, desktop.env) as daemon:
        text = manifest(upstream.url, key="keyring:tests of janagent/far/me")
        words = failed(daemon, name, text)
        assert words == "the keyring has no key for it: keyring set 'tests of janagent/far' me"
        desktop.keep("tests of janagent/far", "me", KEY)
        assert ask(daemon, name)[0] == 200
        desktop.keep("tests of janagent/far", "me", NEW_KEY)
        upstream.key = NEW_KEY
        assert ask(daemon, name)[0] == 200
        assert [shown(call.headers) for call in upstream.calls] == [KEY, NEW_KEY]
        assert openings(daemon, name) == 1, "nothing was started anew"
        desktop.lock()
        assert "the desktop's keyring refuses" in refusal(daemon, name)
        daemon.wait_state(name, "failed")


@pytest.mark.parametrize(
    ("stub", "words"),
    [
        (None, "the desktop's keyring refuses"),
        ("raise ImportError", f"keyring is not installed: {sys.executable} -m pip install keyring"),
    ],
)
def test_without_a_keyring_it_is_told_which_one_is_wanted(
    tmp_path: Path, upstream: Upstream, name: str, stub: str | None, words: str
) -> None:
    env = {"DBUS_SESSION_BUS_ADDRESS": f"unix:path={tmp_path}/nobody"}
    if stub is not None:
        (tmp_path / "keyring.py").write_text(stub)
        env["PYTHONPATH"] = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    with Daemon(tmp_path, env=env, spare_worker=False) as daemon:
        assert words in failed(daemon, name, manifest(upstream.url, key="keyring:service/me"))
        assert words in refusal(daemon, name)
