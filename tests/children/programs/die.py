"""Ends at once: `die.py exit 65`, `die.py signal 6`; says a last word first, without a newline."""

import os
import signal
import sys

os.write(2, b"last word")
how, number = sys.argv[1], int(sys.argv[2])
if how == "exit":
    os._exit(number)
signal.signal(number, signal.SIG_DFL) if number != signal.SIGKILL else None
os.kill(os.getpid(), number)
signal.pause()
