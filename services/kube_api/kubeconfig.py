"""The kubeconfig of an API double, and the certificate it needs: kubectl sends no token over plain HTTP.

The authority lives as long as the folder: a kubeconfig that was copied yesterday still works today.
"""

import base64
import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from saleops.services.cloud.private_files import write_private

VALID = timedelta(days=825)
CERTIFICATE, KEY = "tls.crt", "tls.key"


def kubeconfig(
    url: str,
    token: str,
    *,
    authority: bytes | None = None,
    namespace: str = "default",
    name: str = "saleops",
) -> str:
    """YAML for one cluster, one user, one context."""
    lines = [
        "apiVersion: v1",
        "kind: Config",
        "clusters:",
        f"- name: {name}",
        "  cluster:",
        f"    server: {url}",
    ]
    if authority is not None:
        lines.append(f"    certificate-authority-data: {base64.b64encode(authority).decode()}")
    lines += [
        "users:",
        f"- name: {name}",
        "  user:",
        f"    token: {token}",
        "contexts:",
        f"- name: {name}",
        "  context:",
        f"    cluster: {name}",
        f"    user: {name}",
        f"    namespace: {namespace}",
        f"current-context: {name}",
        "",
    ]
    return "\n".join(lines)


def certificate_in(folder: Path) -> tuple[Path, Path]:
    """The certificate (with the authority's behind it) and key in ``folder``; made where they are missing or ran out."""
    from cryptography import x509

    certificate, key = folder / CERTIFICATE, folder / KEY
    if certificate.exists() and key.exists():
        try:
            held = x509.load_pem_x509_certificate(certificate.read_bytes())
        except ValueError:
            held = None
        if held is not None and held.not_valid_after_utc > datetime.now(UTC) + timedelta(days=1):
            return certificate, key
    chain, secret = _made()
    write_private(certificate, chain)
    write_private(key, secret)
    return certificate, key


def authority_of(certificate: Path) -> bytes:
    """The authority's certificate: the last of the chain."""
    begin = b"-----BEGIN CERTIFICATE-----"
    return begin + certificate.read_bytes().rpartition(begin)[2]


def _made() -> tuple[bytes, bytes]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    now = datetime.now(UTC)

    def builder(
        subject: str, issuer: str, public: ec.EllipticCurvePublicKey
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + VALID)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        )

    def usage(*, signs: bool) -> x509.KeyUsage:
        return x509.KeyUsage(
            digital_signature=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=signs,
            crl_sign=signs,
            encipher_only=False,
            decipher_only=False,
        )

    authority = ec.generate_private_key(ec.SECP256R1())
    root = (
        builder("saleops kube api authority", "saleops kube api authority", authority.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage(signs=True), critical=True)
        .sign(authority, hashes.SHA256())
    )
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    leaf = (
        builder("saleops kube api", "saleops kube api authority", key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()),
            critical=False,
        )
        .sign(authority, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return leaf.public_bytes(pem) + root.public_bytes(pem), secret
