"""Leaves a process behind that holds every pipe and ignores SIGTERM; `stay` keeps the leader alive too."""

import os
import signal
import sys

signal.signal(signal.SIGTERM, signal.SIG_IGN)
held = os.fork()
if held == 0:
    while True:
        signal.pause()
signal.signal(signal.SIGTERM, signal.SIG_DFL)
os.write(1, f"grandchild {held}\n".encode())
if sys.argv[1:] == ["stay"]:
    signal.pause()
os._exit(7)
