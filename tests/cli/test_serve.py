from pathlib import Path

import pytest

from janagent.config import Settings
from tests.cli.conftest import Run


def test_listening_beyond_loopback_without_a_key_is_refused_before_anything_starts(cli: Run, root: Path):
    done = cli("serve", "--root", root, "--host", "0.0.0.0")
    assert done.returncode == 2
    assert 'host "0.0.0.0"' in done.stderr
    assert "api_key" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--port", "70000"), "--port: '70000' should be less than or equal to 65535"),
        (("--hot-load", "often"), "--hot-load: 'often' should be 'dropped', 'all' or 'never'"),
        (("--memory-budget", "much"), "--memory-budget: 'much' should be bytes"),
        (("--config", "/no/such.toml"), "--config: there is no file /no/such.toml"),
        (("--tls-cert", "/c.pem"), "tls_cert and tls_key must be set together"),
    ],
)
def test_a_bad_flag_is_one_sentence_and_exit_2(cli: Run, arguments: tuple[str, ...], told: str):
    done = cli("serve", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(f"janagent: {told}")
    assert done.stderr.count("\n") == 1


def test_every_flag_is_a_setting(cli: Run):
    text = cli("serve", "--help").stdout
    flags = {word for word in text.replace("│", " ").split() if word.startswith("--")}
    names = {flag.removeprefix("--").replace("-", "_") for flag in flags}
    other = {"config", "help", "no_spare_worker", "no_offline", "allowed_host", "cors_origin"}
    assert names - other <= set(Settings.model_fields)
