"""Whose certificates we believe. The environment (SSL_CERT_FILE, REQUESTS_CA_BUNDLE, SSLKEYLOGFILE) has no say."""

import ssl
from functools import cache
from pathlib import Path

import certifi

# Where Debian and Alpine, Fedora, and macOS keep the system's bundle as one file.
_SYSTEM_BUNDLES = (
    Path("/etc/ssl/certs/ca-certificates.crt"),
    Path("/etc/pki/tls/certs/ca-bundle.crt"),
    Path("/etc/ssl/cert.pem"),
)


def ca_bundle(ca_file: Path | None) -> Path:
    """Return the CA bundle for push services: the operator's, else the system's, else certifi's."""
    if ca_file is not None:
        return ca_file
    return next((bundle for bundle in _SYSTEM_BUNDLES if bundle.is_file()), Path(certifi.where()))


def client_tls(ca_file: Path | None) -> ssl.SSLContext:
    """Return a context that checks certificate and host name. Raises OSError when the bundle cannot be read."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # not every build of OpenSSL starts there
    context.load_verify_locations(cafile=ca_bundle(ca_file))
    context.set_alpn_protocols(["http/1.1"])
    return context


@cache
def ensure_readable(bundle: Path) -> None:
    """Raise OSError when the CA bundle cannot be read. One that could is not read again: it takes 30 ms."""
    client_tls(bundle)
