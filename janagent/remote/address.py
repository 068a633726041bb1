"""Where a remote model's requests go: base URL, query and headers, from its manifest. Pure.

The forms of an origin that are understood are those that people copy from documentation and portals:

    https://api.openai.com          -> .../v1/chat/completions        (a base without a version gets /v1)
    http://host:8000/prefix/v1      -> .../prefix/v1/chat/completions
    https://host/any/chat/completions -> exactly that, and its neighbours
    https://NAME.openai.azure.com   -> .../openai/deployments/DEPLOYMENT/chat/completions?api-version=...
    https://NAME.openai.azure.com/openai/v1 -> .../openai/v1/chat/completions   (Azure's version-free API)

Sources: OpenAI's API reference; Microsoft's "Azure OpenAI in Azure AI Foundry Models REST API reference".
"""

import base64
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from yarl import URL

from janagent.folder.manifest import ImportFormat, Manifest
from janagent.folder.parameters import InitParameters

DEFAULT_API_VERSION = "2024-10-21"
"""Azure's dated API that is generally available and speaks all three endpoints."""
_ENDPOINT = re.compile(r"/(?:chat/completions|completions|embeddings|rerank)$")
_VERSION = re.compile(r"v\d+\w*")
_DEPLOYMENT = re.compile(r"/openai/deployments/([^/]+)")


@dataclass(frozen=True, slots=True)
class Address:
    """How to reach one remote model. `repr` shows no secret."""

    base: str
    """URL up to the endpoint, no slash at the end."""
    model: str
    """Its name over there."""
    is_azure: bool = False
    query: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    basic: str = field(default="", repr=False)
    """`user:password` of the origin."""

    def url(self, endpoint: str) -> URL:
        """Where `chat/completions`, `completions`, `embeddings` or `rerank` is."""
        return URL(f"{self.base}/{endpoint}").with_query(self.query or None)

    @property
    def host(self) -> str:
        """For people: host and port."""
        return urlsplit(self.base).netloc

    @property
    def is_openai(self) -> bool:
        """OpenAI's own platform, which refuses fields it does not know."""
        return _is_openai(urlsplit(self.base).hostname or "")

    @property
    def needs_key(self) -> bool:
        """Nobody is let in there without one."""
        name = urlsplit(self.base).hostname or ""
        return self.is_azure or _is_openai(name)

    def secrets(self, key: str) -> list[str]:
        """What is told to the upstream alone, in the forms in which it is told."""
        said = [value.removeprefix("Bearer ").removeprefix("Basic ") for value in self.headers(key).values()]
        _, _, password = self.basic.partition(":")
        return [*said, self.basic, password, *(value for name, value in self.query if name != "api-version")]

    def headers(self, key: str) -> dict[str, str]:
        """What shows `key`; empty without one."""
        if self.is_azure:
            return {"api-key": key} if key else {}
        if key:
            return {"Authorization": f"Bearer {key}"}
        if self.basic:
            return {"Authorization": f"Basic {base64.b64encode(self.basic.encode()).decode()}"}
        return {}


def address_of(manifest: Manifest, init: InitParameters, *, model_id: str) -> Address:
    """The address of a valid remote manifest, with `init` as the last start had it.

    Raises ValueError for an origin that is no base URL.
    """
    parts = urlsplit(_with_scheme(manifest.origin or ""))
    if not parts.hostname:
        raise ValueError("origin is no address of an API")
    port = f":{parts.port}" if parts.port is not None else ""
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    root = f"{parts.scheme}://{host}{port}"
    path = parts.path.rstrip("/")
    is_exact = _ENDPOINT.search(path) is not None
    path = _ENDPOINT.sub("", path)
    query = dict(parse_qsl(parts.query))
    basic = ""
    if parts.username is not None:
        basic = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    if manifest.effective_import_format is ImportFormat.AZURE_OPENAI:
        return _azure(root, path, query, deployment=init.deployment_name, name=init.model_name,
                      version=init.api_version, model_id=model_id)  # fmt: skip
    if not is_exact and not any(_VERSION.fullmatch(part) for part in path.split("/")):
        path += "/v1"
    model = init.model_name or init.deployment_name or model_id
    return Address(root + path, model, query=tuple(query.items()), basic=basic)


def _azure(
    root: str,
    path: str,
    query: Mapping[str, str],
    *,
    deployment: str | None,
    name: str | None,
    version: str | None,
    model_id: str,
) -> Address:
    query = {**query, **({"api-version": version} if version else {})}
    if path.endswith(("/openai/v1", "/models")):  # the model is named in the body alone
        model = name or deployment or model_id
        return Address(root + path, model, is_azure=True, query=tuple(query.items()))
    query.setdefault("api-version", DEFAULT_API_VERSION)
    found = _DEPLOYMENT.search(path)
    named = deployment or (unquote(found[1]) if found is not None else None) or name or model_id
    prefix = (path[: found.start()] if found is not None else path).removesuffix("/openai")
    base = f"{root}{prefix}/openai/deployments/{quote(named, safe='')}"
    return Address(base, name or named, is_azure=True, query=tuple(query.items()))


def _with_scheme(origin: str) -> str:
    """A bare host is asked over https, unless it is this machine or a private address."""
    if "://" in origin:
        return origin
    name = urlsplit(f"//{origin}").hostname or ""
    return f"{'http' if _is_near(name) else 'https'}://{origin}"


def _is_near(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return host == "localhost" or host.endswith((".localhost", ".local"))


def _is_openai(host: str) -> bool:
    return host == "api.openai.com" or host.endswith(".api.openai.com")
