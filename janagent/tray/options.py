"""What the tray needs of the settings, read by a child process so that pydantic never enters the tray's own.

`python -m janagent.tray.options` prints it as JSON; `read` runs that. Neighbours: `config` (what is in
force), `client` (which daemon is meant).
"""

import json
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Given:
    """The flags of the command line, handed on to whatever is started from here."""

    root: Path | None = None
    config: Path | None = None

    def flags(self) -> list[str]:
        """As a command line has them."""
        flags = [] if self.root is None else ["--root", str(self.root)]
        return flags + ([] if self.config is None else ["--config", str(self.config)])


@dataclass(frozen=True, slots=True)
class Options:
    """The settings that matter here."""

    root: str
    log_file: str
    fallback_url: str | None
    """Where a daemon is looked for if none holds the root; None if that one would serve another folder."""
    api_key: str | None = field(repr=False)
    tls_cert: str | None
    notifications: bool

    @classmethod
    def load(cls, given: Given) -> Self:
        """From flags, environment and file. Raises janagent.config.ConfigError."""
        from janagent import paths
        from janagent.config import Settings

        settings = Settings.load({"root": given.root}, config=given.config)
        # As in cli.client: whatever answers on the usual port may serve another folder than a chosen one.
        is_address_chosen = given.root is None and bool(settings.model_fields_set & {"host", "port"})
        is_root_chosen = "root" in settings.model_fields_set
        return cls(
            root=str(settings.root),
            log_file=str(paths.log_file(settings.root)),
            fallback_url=settings.url if is_address_chosen or not is_root_chosen else None,
            api_key=settings.api_key.get_secret_value() if settings.api_key is not None else None,
            tls_cert=str(settings.tls_cert) if settings.tls_cert is not None else None,
            notifications=settings.notifications,
        )


class BadOptions(Exception):
    """The settings cannot be used; the child has said why on stderr, and the message repeats it."""


def read(given: Given) -> Options:
    """The settings in force now. Raises BadOptions."""
    command = [sys.executable, "-m", "janagent.tray.options", *given.flags()]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        if done.returncode:
            raise BadOptions(done.stderr.strip().removeprefix("janagent: "))
        return Options(**json.loads(done.stdout))
    except (OSError, ValueError, TypeError, subprocess.TimeoutExpired) as error:
        raise BadOptions(f"the settings cannot be read: {error}") from error


def parse(arguments: list[str] | None = None) -> Given:
    """The flags of this process, which the command line has checked; argparse alone would be 1 MB."""
    left = iter(sys.argv[1:] if arguments is None else arguments)
    values = {name.removeprefix("--"): Path(value) for name, value in zip(left, left, strict=True)}
    return Given(**values)


def main() -> int:
    """Print the options as JSON; 2 for a wrong setting."""
    from janagent.config import ConfigError

    try:
        print(json.dumps(asdict(Options.load(parse()))))
    except ConfigError as error:
        print(f"janagent: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
