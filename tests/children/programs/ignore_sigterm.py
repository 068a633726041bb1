"""Ignores every polite request to end, and its lifeline too."""

import os
import signal

for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
os.write(1, b"deaf now\n")
while True:
    signal.pause()
