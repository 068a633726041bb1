"""A disk that is really unmounted, in a mount namespace of its own; on Linux only (see conftest)."""

import subprocess
import sys

from tests.folder.desks import Desk

MOUNT_SCRIPT = """
import ctypes, os, sys
from pathlib import Path
from janagent.folder.catalog import Catalog
libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, CLONE_NEWUSER, MS_REC, MS_PRIVATE, MS_MOVE = 0x20000, 0x10000000, 0x4000, 1 << 18, 8192
uid, gid = os.getuid(), os.getgid()
if libc.unshare(CLONE_NEWNS | CLONE_NEWUSER):
    sys.exit("unshare: " + os.strerror(ctypes.get_errno()))
Path("/proc/self/setgroups").write_text("deny")
Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
def mount(source, target, kind, flags):
    if libc.mount(source, target, kind, flags, None):
        sys.exit("mount: " + os.strerror(ctypes.get_errno()))
mount(b"none", b"/", None, MS_REC | MS_PRIVATE)
root = Path(sys.argv[1])
models, aside = root / "models", root / "aside"
aside.mkdir()
mount(b"disk", os.fsencode(models), b"tmpfs", 0)
(models / "x").mkdir()
(models / "x" / "m.json").write_text('{"origin": "https://api.openai.com"}')
catalog = Catalog(root, default_root=False)
assert not catalog.scan(None, now=0.0).offline
assert list(catalog.entries()) == ["x/m.json"]
mount(os.fsencode(models), os.fsencode(aside), None, MS_MOVE)
change = catalog.scan(None, now=10.0)
assert change.offline and not change.removed, change
assert catalog.entries()["x/m.json"].condition == "missing"
mount(os.fsencode(aside), os.fsencode(models), None, MS_MOVE)
change = catalog.scan({"x"}, now=20.0)
assert not change.offline
assert catalog.entries()["x/m.json"].condition == "complete"
print("fine")
"""


def test_a_real_unmount_makes_the_root_offline_and_a_mount_brings_it_back(desk: Desk) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MOUNT_SCRIPT, str(desk.root)], capture_output=True, text=True, timeout=90
    )
    assert done.stdout == "fine\n", done.stderr
