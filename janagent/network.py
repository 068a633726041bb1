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


def proxy_for(url: URL) -> URL | None:
    """The proxy that the environment names for this address (`HTTPS_PROXY`, `NO_PROXY` ...), perhaps with
    its own user and password; None for a direct connection."""
    said = getproxies().get(url.scheme, "")
    if not said or (url.host is not None and proxy_bypass(url.host)):
        return None
    proxy = URL(said if "://" in said else f"http://{said}")
    return proxy if proxy.host else None


class BadBundle(Exception):
    """A bundle that the environment names cannot be used. The message says which."""


def client_tls() -> ssl.SSLContext:
    """Certificates are checked against the system's authorities and the bundles that the environment names.

    Blocks for some ten milliseconds. Raises BadBundle.
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
                raise BadBundle(f"the file {bundle}, which {name} names, cannot be used: {words}") from error
    return context
