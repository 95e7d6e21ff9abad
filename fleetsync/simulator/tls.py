"""A certificate authority for one folder, the server's certificate, and the client's."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFE: Final = timedelta(days=365)
_KeyPair: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """The files of a folder that a TLS server and its clients need; private ones have mode 0600."""

    path: Path

    @property
    def ca(self) -> Path:
        """The authority's certificate: what clients have to trust."""
        return self.path / "ca.pem"

    @property
    def server(self) -> Path:
        """The server's certificate and key."""
        return self.path / "server.pem"

    @property
    def client_certificate(self) -> Path:
        """The certificate that is registered for the client, and its key."""
        return self.path / "client.pem"

    @property
    def client_key(self) -> Path:
        """The client's private key alone."""
        return self.path / "client.key"

    def certificate(self) -> x509.Certificate:
        """Read the client's certificate."""
        return x509.load_pem_x509_certificate(self.client_certificate.read_bytes())

    def server_context(self) -> ssl.SSLContext:
        """Return what the server listens with."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.server)
        return context

    def write_private(self, name: str, text: str) -> None:
        """Write a file that only its owner may read."""
        _write(self.path / name, text.encode(), private=True)


def prepared(path: Path, *, at: float) -> Folder:
    """Return the folder, with certificates for a year; those that are there and good for a day stay."""
    path.mkdir(parents=True, exist_ok=True)
    folder, now = Folder(path=path), datetime.fromtimestamp(at, UTC)
    files = (folder.ca, folder.server, folder.client_certificate, folder.client_key)
    if all(file.exists() for file in files) and _expires(folder) > now + timedelta(days=1):
        return folder
    ca_key = ec.generate_private_key(ec.SECP256R1())
    authority = _certificate("fleetsync simulator CA", ca_key, ca_key, None, now)
    server_key = ec.generate_private_key(ec.SECP256R1())
    server = _certificate("localhost", server_key, ca_key, authority, now)
    # Assertions are signed with RS256 or PS256, so this one has to be RSA.
    client_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    client = _certificate("fleetsync client", client_key, ca_key, authority, now)
    _write(folder.ca, _pem(authority))
    _write(folder.server, _pem(server) + _key_pem(server_key), private=True)
    _write(folder.client_certificate, _pem(client) + _key_pem(client_key), private=True)
    _write(folder.client_key, _key_pem(client_key), private=True)
    return folder


def _expires(folder: Folder) -> datetime:
    return folder.certificate().not_valid_after_utc


def _certificate(
    name: str, key: _KeyPair, signer: ec.EllipticCurvePrivateKey, authority: x509.Certificate | None, now: datetime
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
    usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(authority.subject if authority else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # An hour back, for clients whose clock is behind.
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + _LIFE)
        .add_extension(x509.BasicConstraints(ca=authority is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if authority is None:
        usage = x509.KeyUsage(
            digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False,
            key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
            decipher_only=False,
        )  # fmt: skip
        builder = builder.add_extension(usage, critical=True)
    else:
        builder = builder.add_extension(names, critical=False).add_extension(usages, critical=False)
    return builder.sign(signer, hashes.SHA256())


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def _key_pem(key: _KeyPair) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(path: Path, content: bytes, *, private: bool = False) -> None:
    path.touch(mode=0o600 if private else 0o644)
    path.chmod(0o600 if private else 0o644)
    path.write_bytes(content)
