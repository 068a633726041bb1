"""Real systemds of the tests' own, in namespaces: that of a person with a new home, and that of a machine
whose disk lies over this one's, so that what is written there is gone with it.

They need root, unshare(1), a cgroup2 file system and overlayfs, all of which a machine may refuse: `why_not`
tries and says. Everything inside ends with the context, and nothing outside sees it.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.daemons import until

REPO = Path(__file__).parents[2]
NAMESPACES = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"]

CGROUP = """
set -e
mkdir -p "$BASE/cgroup" && mount -t cgroup2 none "$BASE/cgroup"
mkdir "$BASE/cgroup/$NAME" && echo 0 > "$BASE/cgroup/$NAME/cgroup.procs"
umount "$BASE/cgroup"
exec unshare --cgroup sh -ec "$1"
"""
"""A control group of its own, of which the rest sees the root only."""

USER = """
umount -R /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 none /sys/fs/cgroup
mount -t tmpfs none /run
mkdir -p /run/systemd/system
/lib/systemd/systemd --user --log-target=console --log-level=warning &
echo up
wait
"""
"""systemd runs for a person only where it is, or seems to be, the system's too. As PID 1 it would be that."""

MACHINE = """
umount -R /sys/fs/cgroup 2>/dev/null || true
mount -t tmpfs none "$BASE/disk"
mkdir "$BASE/disk/upper" "$BASE/disk/work" "$BASE/disk/root"
cd "$BASE/disk"
mount -t overlay none -o lowerdir=/,upperdir=upper,workdir=work root
cd root
mount -t proc none proc
mount -t sysfs none sys && mount -t cgroup2 none sys/fs/cgroup
for place in dev run etc/systemd/system; do mkdir -p $place; mount -t tmpfs none $place; done
for device in null zero full random urandom tty; do
    touch dev/$device && mount --bind /dev/$device dev/$device
done
mkdir dev/shm && mount -t tmpfs -o mode=1777 none dev/shm
for target in sysinit basic sockets timers paths slices network network-online multi-user shutdown; do
    printf '[Unit]\nDefaultDependencies=no\n' > etc/systemd/system/$target.target
done
mkdir -p opt/source && mount --bind "$SOURCE" opt/source
for folder in $OPEN; do chmod a+rx ".$folder"; done
pivot_root . mnt && umount -l mnt
echo up
mkdir -p etc/systemd/system.conf.d
printf '[Manager]\nDefaultEnvironment=PYTHONPATH=/opt/source\n' > etc/systemd/system.conf.d/test.conf
exec env -i container=test PATH="$PATH" SYSTEMD_UNIT_PATH=/etc/systemd/system \\
    /lib/systemd/systemd --system --unit=multi-user.target --log-target=console --log-level=warning
"""
"""None of the units that this machine has: theirs would set kernel parameters, load modules and the like."""

CLEAN = """
mount -t cgroup2 none "$BASE/cgroup"
test ! -d "$BASE/cgroup/$NAME" || find "$BASE/cgroup/$NAME" -depth -type d -exec rmdir {} +
"""


def why_not() -> str:
    """Why no systemd can be started here, empty if one can."""
    if sys.platform != "linux":
        return "this is not Linux"
    for tool in ("unshare", "nsenter", "setpriv", "systemctl"):
        if shutil.which(tool) is None:
            return f"there is no {tool}"
    try:
        for kind in (OwnSystemd, OwnMachine):
            with kind() as own:
                own.systemctl("show", "--property=Version")
    except (OSError, AssertionError, subprocess.SubprocessError) as error:
        return str(error)
    return ""


class OwnSystemd:
    """A person's systemd. A context manager; `run` runs a command inside, as that person."""

    script = USER
    enter = ("--mount", "--pid", "--cgroup", "--wd=/")
    scope: tuple[str, ...] = ("--user",)
    target = "default.target"

    def __init__(self) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="js-", dir="/tmp"))
        self.home = self.base / "home"
        self.name = f"janagent-test-{self.base.name}"
        self._log = self.base / "log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Of whoever types the commands."""
        strange = ("JANAGENT_", "XDG_", "DBUS_", "NOTIFY_", "SYSTEMD_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(strange)}
        own = {"HOME": str(self.home), "XDG_RUNTIME_DIR": str(self.base / "run"), "PYTHONPATH": str(REPO)}
        return kept | own

    def __enter__(self) -> Self:
        (self.base / "run").mkdir(mode=0o700)
        for folder in ("home", "disk"):
            (self.base / folder).mkdir()
        try:
            self._start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _start(self) -> None:
        pythons = Path(sys.executable), Path(sys.executable).resolve()
        folders = sorted({str(folder) for python in pythons for folder in python.parents})
        variables = {
            "BASE": str(self.base),
            "NAME": self.name,
            "OPEN": " ".join(folders),
            "SOURCE": str(REPO),
        }
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                # Nothing of it outlives this process, however that ends.
                [
                    "setpriv",
                    "--pdeathsig",
                    "KILL",
                    "unshare",
                    *NAMESPACES,
                    "sh",
                    "-ec",
                    CGROUP,
                    "sh",
                    self.script,
                ],
                env=self.environment | variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

        def is_up() -> bool:
            assert self._process is not None
            assert self._process.poll() is None, f"it ended: {self.log}"
            if "up\n" not in self.log:
                return False
            return self.run("systemctl", *self.scope, "is-active", self.target).stdout == "active\n"

        until(is_up, what="systemd is up")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        variables = {**os.environ, "BASE": str(self.base), "NAME": self.name}
        clean = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", CLEAN]

        def is_clean() -> bool:
            return subprocess.run(clean, env=variables, capture_output=True, check=False).returncode == 0

        if (self.base / "cgroup").is_dir():
            until(is_clean, what="its control group is removed")  # its processes end meanwhile
        shutil.rmtree(self.base, ignore_errors=True)

    def run(
        self, *command: str, env: dict[str, str] | None = None, limit_s: float = 120.0
    ) -> "subprocess.CompletedProcess[str]":
        """A command inside, its words and its exit status."""
        return subprocess.run(
            ["nsenter", "--target", str(self._first()), *self.enter, *command],
            env=self.environment | (env or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
        )

    def _first(self) -> int:
        """The first process inside, by its number outside."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        assert children, f"it ended: {self.log}"
        return int(children[0])

    def janagent(self, *arguments: object) -> "subprocess.CompletedProcess[str]":
        """The command that the tests test."""
        return self.run(sys.executable, "-m", "janagent", *map(str, arguments))

    def do(self, *command: str) -> str:
        """What a command says, which must succeed."""
        done = self.run(*command)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}{self.log}"
        return done.stdout.strip()

    def systemctl(self, *arguments: str) -> str:
        """What systemctl says, which must succeed."""
        return self.do("systemctl", *self.scope, "--no-pager", *arguments)

    def show(self, unit: str, name: str) -> str:
        """One property of a unit."""
        return self.systemctl("show", unit, f"--property={name}", "--value")

    @property
    def log(self) -> str:
        """What systemd wrote."""
        return self._log.read_text(errors="replace")


class OwnMachine(OwnSystemd):
    """The systemd of a machine, on a disk of its own; `run` runs a command there, as root."""

    script = MACHINE
    enter = ("--mount", "--pid", "--cgroup", "--root", "--wd")
    scope = ()
    target = "multi-user.target"

    @property
    def environment(self) -> dict[str, str]:
        """Of root."""
        return super().environment | {"HOME": "/root", "XDG_RUNTIME_DIR": "", "PYTHONPATH": "/opt/source"}
