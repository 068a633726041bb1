"""One session for all tests of the tray; every test has a home of its own in it."""

import itertools
import sys
from collections.abc import Iterator

import pytest

from tests.daemons import Daemon
from tests.tray.session import Home, Session

NUMBERS = itertools.count()
if sys.platform != "linux":
    # Elsewhere there is neither an X server nor a session bus. On Linux a missing program is an error.
    names = ("__main__", "app", "follower", "panel", "preflight", "shell")
    collect_ignore = [f"test_{name}.py" for name in names]


@pytest.fixture(scope="session")
def session() -> Iterator[Session]:
    with Session() as running:
        yield running


@pytest.fixture
def home(session: Session) -> Iterator[Home]:
    """Nothing runs there yet."""
    with Home(session, f"h{next(NUMBERS)}") as made:
        yield made


@pytest.fixture(scope="session")
def calm(session: Session) -> Iterator[tuple[Home, Daemon]]:
    """A home with a daemon without models, for tests that leave both as they are."""
    with (
        Home(session, "calm") as home,
        Daemon(home.folder, env=home.own, root=home.root, spare_worker=False) as daemon,
    ):
        yield home, daemon


@pytest.fixture
def served(home: Home) -> Iterator[Daemon]:
    """A daemon without models in the same home, started as a person starts it in a terminal."""
    with Daemon(home.folder, env=home.own, root=home.root, spare_worker=False) as daemon:
        yield daemon


@pytest.fixture
def own_session() -> Iterator[Session]:
    """One that a test may break."""
    with Session() as running:
        yield running


@pytest.fixture
def own_home(own_session: Session) -> Iterator[Home]:
    with Home(own_session, "h") as made:
        yield made
