"""A certificate authority for tests, and servers' certificates that it signs, made by openssl."""

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

_NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


@dataclass(frozen=True)
class Authority:
    """Its own certificate, which clients may trust, and its key."""

    folder: Path
    cert: Path
    key: Path

    def server(self, *names: str) -> ssl.SSLContext:
        """What a server with these names serves https with; its certificate is signed by the authority."""
        key, request, cert, extensions = (
            self.folder / f"{names[0]}.{end}" for end in ("key", "csr", "pem", "ext")
        )
        extensions.write_text(
            f"subjectAltName={','.join(f'DNS:{name}' for name in names)}\n"
            "basicConstraints=critical,CA:FALSE\nextendedKeyUsage=serverAuth\n"
            "authorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n"
        )
        _openssl("req", *_NEW_KEY, "-subj", f"/CN={names[0]}", "-keyout", key, "-out", request)
        signer = ["-CA", self.cert, "-CAkey", self.key, "-CAcreateserial"]
        _openssl("x509", "-req", "-in", request, *signer, "-days", "2", "-extfile", extensions, "-out", cert)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        return context


def make_authority(folder: Path) -> Authority:
    """One that nobody knows yet."""
    cert, key = folder / "authority.pem", folder / "authority.key"
    command = ["req", "-x509", *_NEW_KEY, "-days", "2", "-subj", "/CN=Test authority"]
    _openssl(*command, "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-keyout", key, "-out", cert)
    return Authority(folder, cert, key)


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate that vouches for itself, for this machine's loopback, and its key."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = [
        "req",
        "-x509",
        *_NEW_KEY,
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
        "-keyout",
        key,
        "-out",
        cert,
    ]
    for extension in (
        "subjectAltName=DNS:localhost,IP:127.0.0.1",
        "keyUsage=critical,digitalSignature,keyCertSign",
    ):
        command += ["-addext", extension]
    _openssl(*command)
    return cert, key


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=60)
