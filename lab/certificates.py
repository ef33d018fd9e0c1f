"""The lab's certificate authority and the certificate of its load balancers."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lab import settings

SERVER_CERTIFICATE = settings.TLS / "server.pem"
SERVER_KEY = settings.TLS / "server.key"
NAMES = (f"{settings.APPLICATION}.lab.test", "*.us-west-2.elb.amazonaws.com", "localhost", settings.S3_HOST)
# The blocks of load balancers that the certificate holds for: the seeded one, and those that are handed out first.
BLOCKS = (settings.LOAD_BALANCER_BLOCK, *range(100, 132))
LIFETIME = timedelta(days=365)


def ensure() -> None:
    """Make the authority and the certificate where they are missing, lack a name or are within a day of their end."""
    settings.TLS.mkdir(parents=True, exist_ok=True, mode=0o700)
    if all(path.exists() for path in (settings.CA_CERTIFICATE, SERVER_CERTIFICATE, SERVER_KEY)):
        certificate = x509.load_pem_x509_certificate(SERVER_CERTIFICATE.read_bytes())
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        lasts = certificate.not_valid_after_utc - datetime.now(UTC) > timedelta(days=1)
        if lasts and set(NAMES) <= set(names.get_values_for_type(x509.DNSName)):
            return
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _certificate("rag-admin lab CA", authority_key, None, authority_key)
    server_key = ec.generate_private_key(ec.SECP256R1())
    server = _certificate(NAMES[0], server_key, authority, authority_key)
    _write(settings.CA_CERTIFICATE, authority.public_bytes(serialization.Encoding.PEM), 0o644)
    _write(SERVER_CERTIFICATE, server.public_bytes(serialization.Encoding.PEM), 0o644)
    # The authority's key is not kept: nothing but this certificate is ever signed with it.
    private = server_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write(SERVER_KEY, private, 0o600)


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Certificate | None,
    issuer_key: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    is_authority = issuer is None
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                key_cert_sign=is_authority,
                crl_sign=is_authority,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    )
    if not is_authority:
        addresses = [address for block in BLOCKS for address in settings.node_addresses(block)]
        names = [*map(x509.DNSName, NAMES), *(x509.IPAddress(ipaddress.ip_address(address)) for address in addresses)]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False).add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
        )
    return builder.sign(issuer_key, hashes.SHA256())


def _write(path: Path, content: bytes, mode: int) -> None:
    path.unlink(missing_ok=True)
    path.touch(mode=mode)
    path.write_bytes(content)
