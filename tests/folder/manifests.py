"""Short ways to write a manifest and read it back, for the tests of its readers."""

import json
from typing import Any

from janagent.folder.manifest import Manifest, Reading, read_manifest


def read(**fields: Any) -> Reading:
    return read_manifest(json.dumps(fields).encode())


def manifest(**fields: Any) -> Manifest:
    reading = read(**fields)
    assert reading.fault is None, reading.fault
    assert reading.manifest is not None
    return reading.manifest


def message(reading: Reading) -> str:
    assert reading.fault is not None
    assert reading.fault.code == "invalid"
    return reading.fault.message


def init(**fields: Any) -> dict[str, Any]:
    return {"parameters": {"init": fields}}


def runtime(**fields: Any) -> dict[str, Any]:
    return {"parameters": {"runtime": fields}}
