"""`python -m janagent.tray`: what `janagent tray` becomes. Exit status: 0 it was ended, or one is there
already; 2 wrong settings; 3 no tray can be shown here.
"""

import logging
import os
import shutil
import sys
from pathlib import Path

from janagent import paths
from janagent.tray import preflight, services
from janagent.tray.launcher import AlreadyThere, TrayLock
from janagent.tray.options import BadOptions, Given, Options, parse, read

NO_TRAY = 3


def main() -> int:
    """Show the tray until somebody quits."""
    given = parse()
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    if (why := preflight.why_not()) is not None:
        return _say(why, NO_TRAY)
    try:
        options = read(given)
        with TrayLock():
            return _show(given, options)
    except BadOptions as error:
        return _say(str(error), 2)
    except AlreadyThere as error:
        return _say(str(error), 0)
    except OSError as error:
        return _say(f"the tray cannot be shown: {error}", 1)


def _show(given: Given, options: Options) -> int:
    from janagent.tray.app import App  # imports the toolkit, so only now
    from janagent.tray.shell import NoTray

    temporary = _fresh(paths.state_dir() / "tray")
    try:
        App(given, options, services=services.OwnServices(), temporary=temporary).run()
    except NoTray as error:
        return _say(str(error), NO_TRAY)
    except Exception as error:  # noqa: BLE001 -- whatever the toolkit raises: it must not look like our fault
        return _say(f"the tray cannot be shown: {error}", NO_TRAY)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return 0


def _fresh(folder: Path) -> Path:
    """An empty folder for the icons, at a fixed place: what a killed tray left goes."""
    shutil.rmtree(folder, ignore_errors=True)
    return paths.make_private(folder)


def _say(message: str, code: int) -> int:
    print(f"janagent: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: pystray's setup thread may wait for ever, and clicks for the daemon.
    os._exit(code)
