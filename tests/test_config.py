import os
import tomllib
from pathlib import Path

import pytest

from janagent.config import ConfigError, HotLoad, Settings, config_in_use, parse_size

EXAMPLE = Path(__file__).parent.parent / "config" / "janagent.toml"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own and no JANAGENT_ variable, so that this machine's settings do not matter."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "conf"))
    for name in os.environ:
        if name.startswith("JANAGENT_"):
            monkeypatch.delenv(name)
    return tmp_path


def written(folder: Path, text: str) -> Path:
    file = folder / "test.toml"
    file.write_text(text)
    return file


def user_file(text: str) -> Path:
    file = Path(os.environ["XDG_CONFIG_HOME"]) / "janagent" / "janagent.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


# --- the example file


def test_the_example_shows_every_setting():
    assert set(tomllib.loads(EXAMPLE.read_text())) == set(Settings.model_fields)


def test_the_example_holds_the_defaults(home: Path):
    assert Settings.load(config=EXAMPLE) == Settings.load()


def test_the_example_explains_every_setting_above_it():
    previous = ""
    for line in EXAMPLE.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            assert previous.startswith("#") or "=" in previous, f"no comment above {line}"
        previous = line


def test_every_setting_has_a_description():
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


# --- defaults and precedence


def test_defaults_are_those_of_the_contract(home: Path):
    settings = Settings.load()
    assert settings.root == home / "janroot"
    assert settings.models_dir == home / "janroot" / "models"
    assert (settings.host, settings.port, settings.api_key) == ("localhost", 1337, None)
    assert settings.bind_hosts == ("127.0.0.1", "::1")
    assert (settings.hot_load, settings.memory_budget) == (HotLoad.DROPPED, None)
    assert (settings.idle_unload_s, settings.load_wait_s, settings.stall_s) == (900, 300, 120)


def test_a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default(
    monkeypatch: pytest.MonkeyPatch,
):
    user_file("port = 1\ndrain_s = 1\nrescan_s = 1\n")
    monkeypatch.setenv("JANAGENT_PORT", "2")
    monkeypatch.setenv("JANAGENT_DRAIN_S", "2")
    settings = Settings.load({"port": 3})
    assert (settings.port, settings.drain_s, settings.rescan_s, settings.idle_unload_s) == (3, 2, 1, 900)


def test_a_flag_that_was_not_given_changes_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JANAGENT_PORT", "2")
    assert Settings.load({"port": None}).port == 2


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JANAGENT_PORT", "")
    monkeypatch.setenv("JANAGENT_API_KEY", "")
    assert Settings.load().port == 1337


def test_the_users_file_is_read_when_no_other_is_named(tmp_path: Path):
    file = user_file("port = 4321")
    assert config_in_use() == file
    assert Settings.load().port == 4321


def test_janagent_config_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    user_file("port = 1")
    monkeypatch.setenv("JANAGENT_CONFIG", str(written(tmp_path, "port = 2")))
    assert Settings.load().port == 2


def test_the_config_flag_beats_janagent_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JANAGENT_CONFIG", str(user_file("port = 1")))
    assert Settings.load(config=written(tmp_path, "port = 2")).port == 2


# --- values


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("8GB", 8 * 10**9),
        ("8 GiB", 8 * 2**30),
        ("1.5g", 1_500_000_000),
        ("512mib", 512 * 2**20),
        ("12345", 12345),
        ("none", None),
        ("", None),
    ],
)
def test_a_size_is_read_as_people_write_it(text: str, size_bytes: int | None):
    assert parse_size(text) == size_bytes


def test_a_list_in_a_variable_is_separated_by_commas(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JANAGENT_ALLOWED_HOSTS", "One.example, two.example")
    assert Settings.load().allowed_hosts == ("one.example", "two.example")


def test_a_relative_root_in_the_file_starts_at_the_file(tmp_path: Path):
    assert Settings.load(config=written(tmp_path, 'root = "here"')).root == tmp_path / "here"


def test_a_relative_root_of_a_flag_starts_at_the_working_folder():
    assert Settings.load({"root": "here"}).root == Path.cwd() / "here"


def test_the_api_key_is_not_shown(tmp_path: Path):
    settings = Settings.load(config=written(tmp_path, 'api_key = "hunter2"'))
    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == "hunter2"
    assert "hunter2" not in repr(settings) + str(settings) + settings.model_dump_json()


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("localhost", "http://127.0.0.1:1337"),
        ("127.0.0.1", "http://127.0.0.1:1337"),
        ("::1", "http://[::1]:1337"),
        ("[::1]", "http://[::1]:1337"),
        ("0.0.0.0", "http://127.0.0.1:1337"),
        ("::", "http://[::1]:1337"),
        ("192.168.1.2", "http://192.168.1.2:1337"),
    ],
)
def test_the_url_for_clients_on_this_machine(host: str, url: str):
    assert Settings.load({"host": host, "api_key": "k"}).url == url


def test_the_url_is_https_with_a_certificate(tmp_path: Path):
    files = {"tls_cert": tmp_path / "c", "tls_key": tmp_path / "k"}
    assert Settings.load(files).url == "https://127.0.0.1:1337"


# --- refusals


def refusal(**flags: object) -> str:
    with pytest.raises(ConfigError) as caught:
        Settings.load(flags)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_an_unknown_key_in_the_file_is_named_with_a_suggestion(tmp_path: Path):
    file = written(tmp_path, "prt = 1")
    with pytest.raises(ConfigError, match=r"test\.toml: prt is not a setting, did you mean port\?"):
        Settings.load(config=file)


def test_an_unknown_table_in_the_file_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match="server is not a setting"):
        Settings.load(config=written(tmp_path, "[server]\nport = 1"))


def test_an_unknown_variable_is_named_with_a_suggestion(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JANAGENT_HOTLOAD", "all")
    assert "JANAGENT_HOTLOAD is not a setting, did you mean JANAGENT_HOT_LOAD?" in refusal()


def test_a_bad_value_names_its_flag():
    assert refusal(port="many") == (
        "--port: 'many' should be a valid integer, unable to parse string as an integer"
    )


def test_a_bad_value_names_its_variable(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JANAGENT_HOT_LOAD", "sometimes")
    assert refusal() == "JANAGENT_HOT_LOAD: 'sometimes' should be 'dropped', 'all' or 'never'"


def test_a_bad_value_names_its_file(tmp_path: Path):
    file = written(tmp_path, "idle_unload_s = -1")
    with pytest.raises(ConfigError) as caught:
        Settings.load(config=file)
    assert str(caught.value) == f"{file}: idle_unload_s: '-1' should be greater than or equal to 0"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", 65536),
        ("memory_budget", "lots"),
        ("memory_budget", "0"),
        ("gpu_memory_budget", "all"),
        ("max_body_bytes", "none"),
        ("drain_s", "nan"),
        ("drain_s", "inf"),
        ("stall_s", 0),
        ("rescan_s", 0),
        ("max_downloads", 0),
        ("host", "http://localhost"),
        ("host", "localhost:80"),
        ("host", ""),
        ("allowed_hosts", ["https://a.example"]),
        ("cors_origins", ["app.example"]),
        ("cors_origins", ["*"]),
        ("cors_origins", ["https://a.example/path"]),
        ("hub_endpoint", "ftp://hub"),
        ("log_level", "loud"),
        ("offline", "perhaps"),
        ("root", 5),
        ("root", "~nobody-of-that-name/x"),
    ],
)
def test_an_impossible_value_is_refused_by_name(name: str, value: object):
    assert f"--{name.replace('_', '-')}" in refusal(**{name: value})


def test_a_bad_api_key_is_refused_without_being_shown():
    message = refusal(api_key="hunter 2")
    assert "--api-key" in message
    assert "hunter" not in message


def test_every_fault_is_named_at_once():
    message = refusal(port="x", drain_s="y")
    assert "--port" in message
    assert "--drain-s" in message


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "models.example.org"])
def test_listening_beyond_loopback_without_a_key_is_refused(host: str):
    message = refusal(host=host)
    assert f'host "{host}"' in message
    assert "api_key" in message


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "::1"])
def test_listening_on_loopback_needs_no_key(host: str):
    assert Settings.load({"host": host}).is_loopback


def test_a_certificate_without_its_key_is_refused(tmp_path: Path):
    assert refusal(tls_cert=tmp_path / "c") == "tls_cert and tls_key must be set together"


def test_a_file_that_is_not_toml_is_refused_with_its_line(tmp_path: Path):
    file = written(tmp_path, "port = 1\nhost: x\n")
    with pytest.raises(ConfigError, match=rf"{file} is not TOML: .*line 2"):
        Settings.load(config=file)


def test_a_named_file_that_is_absent_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ConfigError, match="--config: there is no file"):
        Settings.load(config=tmp_path / "no.toml")
    monkeypatch.setenv("JANAGENT_CONFIG", str(tmp_path / "no.toml"))
    with pytest.raises(ConfigError, match="JANAGENT_CONFIG: there is no file"):
        Settings.load()


def test_settings_cannot_be_changed_after_the_start():
    with pytest.raises(ValueError, match="frozen"):
        Settings.load().port = 1


def test_a_client_that_takes_nothing_has_a_minute() -> None:
    """Contract 5; the tests that wait for it set less."""
    assert Settings.load({}).client_stall_s == 60
