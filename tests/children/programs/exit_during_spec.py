"""Reads the first bytes of its spec and exits."""

import os

os.read(0, 10)
os._exit(64)
