"""What speaks against a remote model's manifest although it is valid: warnings, with what to do.

Pure. Neighbour: `entries`, which asks.
"""

import ipaddress
import shlex
from collections.abc import Iterator
from urllib.parse import urlsplit

from janagent.folder.manifest import ImportFormat, Manifest

VARIABLE, FILE, KEYRING = "${", "file:", "keyring:"
"""What an `API-KEY` begins with that says where the key is; `remote.keys` looks there."""


def is_literal(reference: str) -> bool:
    """Whether an `API-KEY` is the key itself, and so a secret."""
    return not reference.startswith((VARIABLE, FILE, KEYRING))


def api_doubts(manifest: Manifest, path: str, *, is_open: bool) -> Iterator[str]:
    """Warnings about a remote model's manifest, whose file is at `path`. `is_open`: others may read it."""
    init, origin = manifest.init, manifest.origin or ""
    if init.api_key and is_literal(init.api_key) and is_open:
        yield (
            "API-KEY: the key is in this file, and others on this machine may read it: "
            f"chmod 600 {shlex.quote(path)}"
        )
    if init.api_key and origin.startswith("http://") and not _is_near(urlsplit(origin).hostname or ""):
        yield "origin: over http:// the key and all that is said can be read on the way: use https://"
    is_azure = manifest.effective_import_format is ImportFormat.AZURE_OPENAI
    if is_azure and not (init.deployment_name or init.model_name or "/deployments/" in origin):
        yield "DEPLOYMENT-NAME: not set, so the deployment is taken to be called like this model"


def _is_near(host: str) -> bool:
    """This machine, or a network of one's own."""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host or host.endswith((".localhost", ".local", ".lan", ".internal", ".home.arpa"))
