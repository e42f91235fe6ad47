"""Keys, key sets and tokens for tests: good ones, and ones that are wrong in a chosen way."""

import base64
import json
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

SECRET = "a development secret of forty characters"
NOW_S = 1_800_000_000.0
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EDWARDS = ed25519.Ed25519PrivateKey.generate()
CURVE = ec.generate_private_key(ec.SECP256R1())


def claims(**changes: Any) -> dict[str, Any]:
    """Good claims with ``changes``; a change to None leaves the claim out."""
    good = {"sub": "ann", "aud": "saleops", "iat": int(NOW_S), "exp": int(NOW_S) + 60}
    return {name: value for name, value in (good | changes).items() if value is not None}


def jwk(private: Any, kid: str | None = "k1", **extra: Any) -> dict[str, Any]:
    algorithm = {"RSA": "RS256", "Ed2": "EdDSA", "ECP": "ES256"}[
        type(private).__name__.strip("_")[:3]
    ]
    public = jwt.get_algorithm_by_name(algorithm).to_jwk(private.public_key(), as_dict=True)
    public.pop("key_ops", None)
    return public | ({"kid": kid} if kid is not None else {}) | extra


def jwks(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": keys}).encode()


def sign(private: Any, algorithm: str, *, kid: str | None = "k1", **changes: Any) -> str:
    headers = {"kid": kid} if kid is not None else None
    return jwt.encode(claims(**changes), private, algorithm=algorithm, headers=headers)


def segment(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
