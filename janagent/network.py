"""What the environment says of the way out: proxies and certificate authorities. Leaf.

aiohttp's own `trust_env` is not used anywhere, because it would take names and passwords for any host from
~/.netrc as well.
"""

import os
import ssl
from urllib.request import getproxies, proxy_bypass

from yarl import URL

CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Bundles that other tools are given; `SSL_CERT_FILE` and `SSL_CERT_DIR` are OpenSSL's own."""


class BadEnvironment(Exception):
    """A variable that cannot be used. The message names it."""


def proxy_for(url: URL) -> URL | None:
    """The proxy that the environment names for this address (`HTTPS_PROXY`, `NO_PROXY` ...), perhaps with
    its own user and password; None for a direct connection. Raises BadEnvironment."""
    said = getproxies().get(url.scheme, "")
    if not said or (url.host is not None and proxy_bypass(url.host)):
        return None
    variable = f"{url.scheme.upper()}_PROXY"  # the value may hold a password
    try:
        proxy = URL(said if "://" in said else f"http://{said}")
        _ = proxy.port  # raises for one that is out of range
    except ValueError as error:
        raise BadEnvironment(f"what {variable} holds is not the address of a proxy") from error
    if proxy.host and proxy.scheme not in ("http", "https"):
        raise BadEnvironment(f"{variable} names a {proxy.scheme} proxy; only http and https ones can be used")
    return proxy if proxy.host else None


def client_tls() -> ssl.SSLContext:
    """Certificates are checked against the system's authorities and the bundles that the environment names.

    Blocks for some ten milliseconds. Raises BadEnvironment.
    """
    context = ssl.create_default_context()
    for name in CA_VARIABLES:
        if bundle := os.environ.get(name):
            try:
                if os.path.isdir(bundle):
                    context.load_verify_locations(capath=bundle)
                else:
                    context.load_verify_locations(cafile=bundle)
            except OSError as error:  # ssl's own are too
                words = "holds no certificates" if isinstance(error, ssl.SSLError) else error.strerror
                raise BadEnvironment(
                    f"the file {bundle}, which {name} names, cannot be used: {words}"
                ) from error
    return context
