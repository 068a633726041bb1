"""A spare that dies of its processor; counts its lives, one byte each, in the file it is given."""

import os
import signal
import sys

os.write(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND), b"x")
os.write(2, b"no such instruction\n")
os.kill(os.getpid(), signal.SIGILL)
