"""Writes rubbish, a line too long, a flood of rubbish and two true lines to the status pipe, then exits."""

import os

status = int(os.environ["JANAGENT_STATUS_FD"])


def write(data: bytes) -> None:
    while data:
        data = data[os.write(status, data) :]


write(b"\x00\xff\xfe not json\n[]\n{}\n\n" + b'{"event":"ready"}\n{"event":"coffee"}\n')
write(b'{"event":"loading","progress":0.25}\n')
write(b'{"event":"failed","message":"' + b"m" * 100_000 + b'"}\n')
write(b"rubbish\n" * 100)
write(b'{"event":"loading","progress":0.75}\n')
write(b'{"event":"loading","progr')
