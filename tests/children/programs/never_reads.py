"""Never reads its stdin; a long spec gets stuck in the pipe. SIGUSR1 ends it."""

import os
import signal

signal.signal(signal.SIGUSR1, lambda *_: os._exit(3))
os.write(1, b"not listening\n")
while True:
    signal.pause()
