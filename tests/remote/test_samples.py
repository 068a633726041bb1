"""The manifests in config/remote: valid as they are, and working with another address."""

import json
import re
from pathlib import Path

import pytest

from janagent.remote.address import address_of
from tests.daemons import Daemon
from tests.folder.desks import Desk
from tests.remote.models import ask
from tests.remote.upstream import KEY, Upstream

SAMPLES = sorted((Path(__file__).parent.parent.parent / "config" / "remote").glob("*.json"))
WHERE = {
    "azure": "https://YOUR-RESOURCE.openai.azure.com/openai/deployments/gpt4-turbo/chat/completions"
    "?api-version=2024-10-21",
    "janagent": "http://big-box:1337/v1/chat/completions",
    "openai": "https://api.openai.com/v1/chat/completions",
    "ray-serve": "http://ray-head:8000/v1/chat/completions",
    "vllm": "http://gpu-1:8000/v1/chat/completions",
}


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_a_sample_is_valid_and_leads_where_it_says(path: Path, tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.put(path.name, path.read_text())
    desk.scan()
    entry = desk.entry(path.name)
    assert (entry.fault, entry.warnings, entry.is_remote) == (None, (), True)
    address = address_of(entry.manifest, entry.manifest.init, model_id=entry.id)
    assert str(address.url("chat/completions")).lower() == WHERE[path.stem].lower()


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_a_sample_works_with_another_origin_and_key(near: Daemon, upstream: Upstream, path: Path) -> None:
    text = re.sub(r'"origin": "[^"]*"', f'"origin": "{upstream.url}"', path.read_text())
    text = re.sub(r'"API-KEY": "[^"]*"', '"API-KEY": "${TEST_KEY}"', text)
    if '"API-KEY"' not in text:
        upstream.key = None
    near.drop(path.stem, text)
    near.wait_state(path.stem, "running")
    status, answer = ask(near, path.stem)
    assert (status, answer["model"]) == (200, path.stem)
    shown = json.dumps(upstream.last.headers)
    assert (KEY in shown) is ('"API-KEY"' in text)
    assert near.call("DELETE", f"/v1/models/{path.stem}")[0] == 200


def test_every_sample_is_one_of_these() -> None:
    assert {path.stem for path in SAMPLES} == WHERE.keys()
