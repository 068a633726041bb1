"""The settings: one class, four sources (flag > `JANAGENT_*` > `janagent.toml` > default).

Knows nothing of what the settings are for. `janagent.cli` collects flags and prints a `ConfigError`;
`janagent.paths` names the folders. `config/janagent.toml` shows every setting with its default.
"""

import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from janagent import paths

ENV_PREFIX = "JANAGENT_"
CONFIG_VARIABLE = "JANAGENT_CONFIG"
STOP_MARGIN_S = 60.0
LOOPBACK = ("127.0.0.1", "::1")

_FILE_VALUES = "__file_values__"
_SIZE_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_SIZE_UNITS |= {"ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


class ConfigError(Exception):
    """Settings that cannot be used; the message is one sentence that names the setting and its place."""


class HotLoad(StrEnum):
    """Which models are loaded before anybody asks for them."""

    DROPPED = "dropped"
    ALL = "all"
    NEVER = "never"


class LogLevel(StrEnum):
    """How much the daemon writes to its log."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def parse_size(value: Any) -> Any:
    """Bytes from `8GB`, `512 MiB`, `8000000000`; None from `none`. Raises ValueError on other text."""
    if not isinstance(value, str):
        return value
    text = value.strip().lower()
    if text in ("", "none"):
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]i?|)b?", text)
    if match is None:
        raise ValueError('should be bytes, a size such as "8GB" or "512MiB", or "none"')
    return int(float(match[1]) * _SIZE_UNITS[match[2]])


def _size_or_nothing(value: Any) -> Any:
    size = parse_size(value)
    return 0 if size is None else size


def _unset_when_empty(value: Any) -> Any:
    return None if isinstance(value, str) and not value.strip() else value


def _words(value: Any) -> Any:
    """A variable holds a list as `a, b`; a file holds a real one."""
    if isinstance(value, str):
        return tuple(word.strip() for word in value.split(",") if word.strip())
    return value


def _absolute(value: Any) -> Any:
    if isinstance(value, str | Path) and str(value).strip():
        try:
            return Path(value).expanduser().absolute()
        except RuntimeError as error:
            raise ValueError(str(error)) from error
    return None if value == "" else value


def _host(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    host = value.strip().strip("[]").lower()
    if not host or re.search(r"[\s/\\@?#*,]|://", host) or (":" in host and not _is_ip(host)):
        raise ValueError('should be a host name or an IP address alone, such as "localhost" or "0.0.0.0"')
    return host


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _api_key(value: Any) -> Any:
    if isinstance(value, str) and re.fullmatch(r"[!-~]+", value) is None:
        raise ValueError("should be visible ASCII characters without spaces, as it travels in a header")
    return value


def _allowed_host(value: Any) -> Any:
    return _host(value) if isinstance(value, str) else value


def _web_origin(value: Any) -> Any:
    """`https://app.example:8443`, as browsers write it in `Origin` (RFC 6454, section 6.1)."""
    if not isinstance(value, str):
        return value
    text = value.strip().lower().removesuffix("/")
    parts = urlsplit(text)
    if not parts.scheme or not parts.netloc or parts.path or parts.query or parts.fragment or "@" in text:
        raise ValueError('should be scheme://host or scheme://host:port, such as "https://app.example"')
    return text


def _hub_endpoint(value: Any) -> Any:
    if isinstance(value, str) and not re.match(r"https?://[^/\s]+", value):
        raise ValueError('should be an http or https URL, such as "https://huggingface.co"')
    return value.rstrip("/") if isinstance(value, str) else value


AbsolutePath = Annotated[Path, BeforeValidator(_absolute)]
OptionalPath = Annotated[Path | None, BeforeValidator(_absolute)]
Size = Annotated[Annotated[int, Field(gt=0)], BeforeValidator(parse_size)]
OptionalSize = Annotated[Annotated[int, Field(gt=0)] | None, BeforeValidator(parse_size)]
OptionalGpuSize = Annotated[Annotated[int, Field(ge=0)] | None, BeforeValidator(parse_size)]
SizeOrNothing = Annotated[Annotated[int, Field(ge=0)], BeforeValidator(_size_or_nothing)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Hosts = Annotated[
    tuple[Annotated[str, BeforeValidator(_allowed_host)], ...], NoDecode, BeforeValidator(_words)
]
Origins = Annotated[
    tuple[Annotated[str, BeforeValidator(_web_origin)], ...], NoDecode, BeforeValidator(_words)
]


class Settings(BaseSettings):
    """Everything a person can set. Frozen; read it with `Settings.load`, never by calling the class."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_ignore_empty=True, extra="forbid", frozen=True, hide_input_in_errors=True
    )

    root: AbsolutePath = Field(default_factory=paths.default_root, description="folder that holds models/")
    host: Annotated[str, BeforeValidator(_host)] = Field("localhost", description="address to listen on")
    port: int = Field(1337, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    api_key: Annotated[SecretStr | None, BeforeValidator(_api_key), BeforeValidator(_unset_when_empty)] = (
        Field(None, description="key that every call must bring")
    )
    tls_cert: OptionalPath = Field(None, description="certificate chain (PEM) for https")
    tls_key: OptionalPath = Field(None, description="private key (PEM) for https")
    allowed_hosts: Hosts = Field((), description="further names by which clients may call this machine")
    cors_origins: Origins = Field((), description="web pages of other origins that may call")

    hot_load: HotLoad = Field(
        HotLoad.DROPPED, description="load before the first request: dropped, all, never"
    )
    memory_budget: OptionalSize = Field(
        None, description="bytes that loaded models may use; none: fitted to the machine"
    )
    gpu_memory_budget: OptionalGpuSize = Field(
        None, description="bytes of GPU memory that loaded models may use; 0: no GPU; none: what is free"
    )
    prompt_cache: SizeOrNothing = Field(
        2_000_000_000, description="bytes that an engine may keep finished conversations in; 0: none"
    )
    idle_unload_s: Seconds = Field(
        900, description="unload a model after so long without a request; 0: never"
    )
    drain_s: Seconds = Field(30, description="how long a stop waits for running answers")
    load_wait_s: Seconds = Field(300, description="how long a request waits for memory that busy models hold")
    stall_s: float = Field(
        120, ge=1, allow_inf_nan=False, description="kill an engine that makes no step for so long"
    )
    remote_stall_s: float = Field(
        300, ge=1, allow_inf_nan=False, description="give up on a remote model that sends nothing for so long"
    )
    client_stall_s: float = Field(
        60, ge=1, allow_inf_nan=False, description="cut a client that takes no byte of its answer for so long"
    )
    queue_limit: int = Field(256, ge=0, description="requests that may wait for a free place of one model")
    spare_worker: bool = Field(True, description="keep one empty worker ready, so that a load starts at once")
    rescan_s: float = Field(
        60, ge=1, allow_inf_nan=False, description="look at the whole folder so often, events or not"
    )

    max_downloads: int = Field(2, ge=1, description="downloads at one time")
    hub_endpoint: Annotated[str, BeforeValidator(_hub_endpoint)] = Field(
        "https://huggingface.co", description="model hub, or a mirror of it"
    )
    offline: bool = Field(False, description="never use the network to fetch models")

    notifications: bool = Field(True, description="desktop notifications from the tray")
    uploads: bool = Field(True, description="models may be added through the dashboard")
    picture_urls: bool = Field(False, description="fetch pictures that a request names by their http address")
    picture_urls_private: bool = Field(
        False, description="such addresses may be of this machine and its network"
    )
    max_picture_bytes: Size = Field(20 * 2**20, description="largest picture or sound in a request")
    max_body_bytes: Size = Field(64 * 2**20, description="largest request body")
    log_level: LogLevel = Field(LogLevel.INFO, description="debug, info, warning or error")

    @classmethod
    def load(cls, flags: Mapping[str, Any] | None = None, *, config: Path | None = None) -> Self:
        """The settings in force: `flags` (None means not given) > environment > file > default.

        `config` is the file of `--config`; else `JANAGENT_CONFIG`, else the user's `janagent.toml` if it is
        there. Raises ConfigError for an unknown setting, an impossible value or an unreadable file.
        """
        given = {name: value for name, value in (flags or {}).items() if value is not None}
        file = config_in_use(config)
        values = {} if file is None else _read(file, known=cls.model_fields)
        _refuse_unknown_variables(cls.model_fields)
        sources: dict[str, Any] = {**given, _FILE_VALUES: values}
        try:
            return cls(**sources)
        except ValidationError as error:
            faults = [_sentence(fault, flags=given, values=values, file=file) for fault in error.errors()]
            raise ConfigError("; ".join(faults)) from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, then the environment, then the values that `load` read from the file."""
        assert isinstance(init_settings, InitSettingsSource)
        values = init_settings.init_kwargs.pop(_FILE_VALUES, {})
        return init_settings, env_settings, InitSettingsSource(settings_cls, values)

    @model_validator(mode="after")
    def _refuse_an_open_door(self) -> Self:
        if not self.is_loopback and self.api_key is None:
            raise ValueError(
                f'host "{self.host}" lets other machines in, so api_key must be set too'
                ' (or use host "localhost")'
            )
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key must be set together")
        return self

    @property
    def is_loopback(self) -> bool:
        """Only this machine can call."""
        return self.host == "localhost" or (_is_ip(self.host) and ipaddress.ip_address(self.host).is_loopback)

    @property
    def bind_hosts(self) -> tuple[str, ...]:
        """The addresses to listen on; `localhost` means both loopback addresses."""
        return LOOPBACK if self.host == "localhost" else (self.host,)

    @property
    def url(self) -> str:
        """Base URL for a client on this machine, without a slash at the end."""
        wildcard = {"localhost": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
        return url_of(wildcard.get(self.host, self.host), self.port, tls=self.tls_cert is not None)

    @property
    def longest_stop_s(self) -> float:
        """After so long an orderly stop is given up; a service manager has to wait longer."""
        return self.drain_s + STOP_MARGIN_S

    @property
    def models_dir(self) -> Path:
        """The folder that is the truth."""
        return paths.models_dir(self.root)


def url_of(host: str, port: int, *, tls: bool) -> str:
    """`http://127.0.0.1:1337`, an IPv6 address in brackets."""
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


def config_in_use(config: Path | None = None) -> Path | None:
    """The file that `Settings.load` reads, if any. Raises ConfigError when a named one is absent."""
    named = config or (Path(value) if (value := os.environ.get(CONFIG_VARIABLE)) else None)
    if named is None:
        return file if (file := paths.config_file()).is_file() else None
    named = named.expanduser().absolute()
    if not named.is_file():
        raise ConfigError(f"{'--config' if config else CONFIG_VARIABLE}: there is no file {named}")
    return named


def _read(file: Path, *, known: Mapping[str, Any]) -> dict[str, Any]:
    try:
        values = tomllib.loads(file.read_text("utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not TOML: {error}") from None
    unknown = [
        f"{file}: {name} is not a setting{_nearest(name, known)}" for name in values if name not in known
    ]
    if unknown:
        raise ConfigError("; ".join(unknown))
    for name in ("root", "tls_cert", "tls_key"):
        if isinstance(value := values.get(name), str) and value and not value.startswith("~"):
            values[name] = file.parent / value
    return values


def _refuse_unknown_variables(known: Mapping[str, Any]) -> None:
    names = {*known, CONFIG_VARIABLE.removeprefix(ENV_PREFIX).lower()}
    unknown = [
        f"the variable {variable} is not a setting{_nearest(name, names, prefix=ENV_PREFIX)}"
        for variable in sorted(os.environ)
        if variable.upper().startswith(ENV_PREFIX)
        and (name := variable[len(ENV_PREFIX) :].lower()) not in names
    ]
    if unknown:
        raise ConfigError("; ".join(unknown))


def _nearest(name: str, known: Mapping[str, Any] | set[str], *, prefix: str = "") -> str:
    near = difflib.get_close_matches(name, sorted(known), n=2, cutoff=0.75)
    if prefix:
        near = [prefix + match.upper() for match in near]
    return f", did you mean {' or '.join(near)}?" if near else ""


def _sentence(fault: Any, *, flags: Mapping[str, Any], values: Mapping[str, Any], file: Path | None) -> str:
    """One pydantic error as `place: value: what is allowed`; a key is never quoted."""
    message = str(fault["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    if not fault["loc"]:
        return message
    name = str(fault["loc"][0])
    variable = ENV_PREFIX + name.upper()
    if name in flags:
        place, value = f"--{name.replace('_', '-')}", flags[name]
    elif os.environ.get(variable):
        place, value = variable, os.environ[variable]
    else:
        place, value = f"{file}: {name}", values.get(name)
    shown = "" if name == "api_key" else f" {str(value)!r}"
    return f"{place}:{shown} {message}"
