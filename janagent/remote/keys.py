"""Keys of remote models: what a manifest's `API-KEY` refers to, resolved at the moment of use.

    sk-...                    the key itself
    ${OPENAI_API_KEY}         a variable of the daemon; only names that end in _KEY or _TOKEN
    file:/run/secrets/openai  a file of one line
    keyring:service/user      the desktop's keyring (the extra `janagent[keyring]`)

Whoever drops a manifest chooses who gets the key, so a reference must not carry off just anything. No message
in here holds a key. Neighbour: `client` resolves before each request.
"""

import asyncio
import os
import re
import stat
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from shlex import quote

from janagent.folder.apis import FILE, KEYRING, VARIABLE

LONGEST_FILE_BYTES = 4 << 10
LOOKUP_LIMIT_S = 15.0
"""A locked keyring asks its owner; a request cannot wait for longer."""
_WRITTEN_S = 0.1
"""Whoever writes a key file anew leaves it empty for a moment."""
OWN_PREFIX = "JANAGENT_"
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_ENDINGS = ("_KEY", "_TOKEN")
_USABLE = re.compile(r"[!-~]+")


_pending: dict[tuple[int, str], "asyncio.Future[str | KeyProblem]"] = {}
"""What is being looked up, by loop and reference: who else wants it waits for the same."""


class KeyProblem(Exception):
    """The key is not to be had. The message says what to do."""


async def resolve(reference: str, *, environ: Mapping[str, str] = os.environ) -> str:
    """The key, visible ASCII. Raises KeyProblem."""
    if reference.startswith(KEYRING):
        return await _apart(reference, lambda: _from_keyring(reference.removeprefix(KEYRING)))
    if reference.startswith(VARIABLE):
        return _from_variable(reference, environ)
    if reference.startswith(FILE):
        return await _apart(reference, lambda: _from_settled_file(reference.removeprefix(FILE)))
    return _usable(reference.strip(), "API-KEY")


async def _apart(reference: str, find: Callable[[], str]) -> str:
    """Look it up in a thread of its own, one for each reference.

    Not in the pool that everything else uses: a locked keyring or a dead mount may hold the thread for good.
    """
    loop = asyncio.get_running_loop()
    place = (id(loop), reference)
    if (found := _pending.get(place)) is None:
        found = _pending[place] = loop.create_future()
        found.add_done_callback(lambda _: _pending.pop(place, None))
        arguments = (find, loop, found)
        threading.Thread(target=_look_up, args=arguments, daemon=True, name="key lookup").start()
    try:
        async with asyncio.timeout(LOOKUP_LIMIT_S):
            key = await asyncio.shield(found)
    except TimeoutError:
        raise KeyProblem(f"{reference} does not answer: is it locked, or its disk away?") from None
    if isinstance(key, KeyProblem):
        raise KeyProblem(*key.args) from key.__cause__
    return key


def _look_up(
    find: Callable[[], str], loop: asyncio.AbstractEventLoop, found: "asyncio.Future[str | KeyProblem]"
) -> None:
    result: str | KeyProblem
    try:
        result = find()
    except KeyProblem as problem:
        result = problem
    except Exception as error:  # noqa: BLE001 - a keyring's backend may raise anything
        result = KeyProblem(f"API-KEY cannot be looked up: {type(error).__name__}")
    with suppress(RuntimeError):  # the loop is closed: nobody waits
        loop.call_soon_threadsafe(_settle, found, result)


def _settle(found: "asyncio.Future[str | KeyProblem]", result: str | KeyProblem) -> None:
    if not found.done():
        found.set_result(result)


def _usable(key: str, where: str) -> str:
    if not key:
        raise KeyProblem(f"{where} is empty: put the key there")
    if _USABLE.fullmatch(key) is None:
        raise KeyProblem(f"{where} holds no key: a key is one word of visible ASCII characters")
    return key


def _from_variable(reference: str, environ: Mapping[str, str]) -> str:
    match = _VARIABLE.fullmatch(reference)
    if match is None:
        raise KeyProblem("API-KEY begins with ${ but is not of the form ${NAME}")
    name = match[1]
    if not name.endswith(_ENDINGS) or name.startswith(OWN_PREFIX):
        raise KeyProblem(
            f"API-KEY may not use the variable {name}: only names that end in _KEY or _TOKEN are sent to "
            f"others, and none that begin with {OWN_PREFIX}"
        )
    if name not in environ:
        raise KeyProblem(
            f"the variable {name} is not set for janagent: set it and restart, or use file:/path"
        )
    return _usable(environ[name].strip(), f"the variable {name}")


def _from_settled_file(name: str) -> str:
    try:
        return _from_file(name)
    except KeyProblem:
        time.sleep(_WRITTEN_S)
        return _from_file(name)


def _from_file(name: str) -> str:
    path = Path(name)
    if not path.is_absolute():
        raise KeyProblem("API-KEY must name the key's file by its whole path: file:/run/secrets/name")
    try:
        # A pipe would block without O_NONBLOCK; of a terminal O_NOCTTY keeps us free.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise KeyProblem(f"{path} is no regular file, so it is not read for a key")
            if found.st_mode & stat.S_IROTH:
                raise KeyProblem(f"{path} holds a key, but everybody may read it: chmod o-r {quote(name)}")
            content = file.read(LONGEST_FILE_BYTES + 1)
    except OSError as error:
        raise KeyProblem(f"{path}, which should hold the key, cannot be read: {error.strerror}") from error
    lines = content.rstrip(b"\r\n").splitlines()
    if len(content) > LONGEST_FILE_BYTES or len(lines) > 1:
        raise KeyProblem(f"{path} is no key file: that has one line, of at most {LONGEST_FILE_BYTES} bytes")
    return _usable(lines[0].decode("latin-1").strip() if lines else "", str(path))


def _from_keyring(place: str) -> str:
    service, slash, user = place.rpartition("/")
    if not (slash and service and user):
        raise KeyProblem("API-KEY must be of the form keyring:service/user")
    key = _ask_keyring(service, user)
    if key is None:
        raise KeyProblem(f"the keyring has no key for it: keyring set {quote(service)} {quote(user)}")
    return _usable(key.strip(), f"the keyring's entry {service}/{user}")


def _ask_keyring(service: str, user: str) -> str | None:
    try:
        import keyring
    except ImportError:
        command = f"{quote(sys.executable)} -m pip install keyring"
        raise KeyProblem(f"API-KEY is in the keyring, but keyring is not installed: {command}") from None
    try:
        found: str | None = keyring.get_password(service, user)
        return found
    except keyring.errors.KeyringError as error:
        raise KeyProblem(f"the desktop's keyring refuses: {error or type(error).__name__}") from error
