"""Writes its environment, group, session, folder and open descriptors to the file it is given, as JSON."""

import json
import os
import sys
from pathlib import Path

held = {}
for fd in range(256):
    try:
        found = os.fstat(fd)
    except OSError:
        continue
    held[fd] = [found.st_dev, found.st_ino]
facts = {
    "environment": dict(os.environ),
    "pid": os.getpid(),
    "group": os.getpgid(0),
    "session": os.getsid(0),
    "cwd": os.getcwd(),
    "descriptors": held,
}
Path(sys.argv[1]).write_text(json.dumps(facts))
