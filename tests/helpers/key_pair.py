"""A pair of keys to sign with and to check."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec


def write_pair(folder: Path, name: str, private: ec.EllipticCurvePrivateKey | None = None) -> tuple[Path, Path]:
    """A private and a public key in PEM."""
    private = private or ec.generate_private_key(ec.SECP256R1())
    plain, pem = serialization.NoEncryption(), serialization.Encoding.PEM
    (folder / f"{name}.pem").write_bytes(private.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    public = private.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    (folder / f"{name}.pub").write_bytes(public)
    return folder / f"{name}.pem", folder / f"{name}.pub"
