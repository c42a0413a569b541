"""A certificate authority of our own, for loopback only, and the server certificates it signs."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from ipaddress import ip_address, ip_network
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LOOPBACK_NAMES: list[x509.GeneralName] = [
    x509.DNSName("localhost"),
    *(x509.IPAddress(ip_address(f"127.0.0.{last}")) for last in range(1, 10)),
    x509.IPAddress(ip_address("::1")),
]
_CA_LIFETIME = timedelta(days=365)
_SERVER_LIFETIME = timedelta(days=30)
_CLOCK_TOLERANCE = timedelta(hours=1)


class CertificateKind(StrEnum):
    """Which certificate a server shows: a good one, or one that a client must refuse."""

    TRUSTED = "trusted"
    EXPIRED = "expired"
    UNTRUSTED = "untrusted"  # signed by an authority that nobody was told to trust
    WRONG_NAME = "wrong_name"  # good, but for another host


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority; whoever trusts it trusts it for loopback addresses only."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def create(cls, *, now: datetime | None = None) -> "Authority":
        now = now or datetime.now(UTC)
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("Push service simulator, loopback only")
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _CLOCK_TOLERANCE)
            .not_valid_after(now + _CA_LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(_loopback_only(), critical=True)
            .sign(key, SHA256())
        )
        return cls(certificate, key)

    @classmethod
    def kept_in(cls, directory: Path, *, now: datetime | None = None) -> "Authority":
        """Return the authority kept in a directory, so that clients need to be told only once.

        A new one is made when there is none, or when it would end before a server certificate does.
        Files: ca.pem (to hand out), ca.key (readable by its owner only).
        """
        now = now or datetime.now(UTC)
        certificate_file, key_file = directory / "ca.pem", directory / "ca.key"
        if certificate_file.exists() and key_file.exists():
            certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
            key = load_pem_private_key(key_file.read_bytes(), password=None)
            if isinstance(key, ec.EllipticCurvePrivateKey) and (
                now + _SERVER_LIFETIME < certificate.not_valid_after_utc
            ):
                return cls(certificate, key)
        authority = cls.create(now=now)
        directory.mkdir(parents=True, exist_ok=True)
        key_file.touch(mode=0o600)
        key_file.write_bytes(_key_pem(authority.key))
        authority.write_certificate(certificate_file)
        return authority

    def write_certificate(self, path: Path) -> None:
        path.write_bytes(self.certificate.public_bytes(Encoding.PEM))

    def server_context(self, kind: CertificateKind, *, protocols: tuple[str, ...]) -> ssl.SSLContext:
        """Return a TLS 1.2 and 1.3 server context with a fresh key and a certificate of that kind.

        `protocols` are offered through ALPN, the preferred one first.
        """
        signer = Authority.create() if kind is CertificateKind.UNTRUSTED else self
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = signer._issue(key.public_key(), kind)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(list(protocols))
        with TemporaryDirectory() as directory:  # the ssl module loads certificates from files only
            chain = Path(directory) / "chain.pem"
            chain.touch(mode=0o600)
            chain.write_bytes(_key_pem(key) + certificate.public_bytes(Encoding.PEM))
            context.load_cert_chain(chain)
        return context

    def _issue(self, public_key: ec.EllipticCurvePublicKey, kind: CertificateKind) -> x509.Certificate:
        now = datetime.now(UTC)
        names = _LOOPBACK_NAMES
        if kind is CertificateKind.WRONG_NAME:
            names = [x509.IPAddress(ip_address("127.255.255.254"))]
        start, end = now - _CLOCK_TOLERANCE, now + _SERVER_LIFETIME
        if kind is CertificateKind.EXPIRED:
            start, end = now - timedelta(days=2), now - timedelta(days=1)
        return (
            x509.CertificateBuilder()
            .subject_name(_name("Push service simulator"))
            .issuer_name(self.certificate.subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(end)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False
            )
            .sign(self.key, SHA256())
        )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _loopback_only() -> x509.NameConstraints:
    return x509.NameConstraints(
        permitted_subtrees=[
            x509.DNSName("localhost"),
            x509.IPAddress(ip_network("127.0.0.0/8")),
            x509.IPAddress(ip_network("::1/128")),
        ],
        excluded_subtrees=None,
    )
