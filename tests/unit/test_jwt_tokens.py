"""Who gets in: every way a token can be wrong is refused, and nothing a token says decides how it is checked."""

import base64
import hashlib
import hmac
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from saleops.adapters import jwt_tokens
from saleops.adapters.jwt_tokens import JwtVerifier, issue_dev_token
from saleops.config.settings import JwtSettings
from saleops.errors import ConfigError
from saleops.ports.tokens import TokenRefused
from signing import CURVE, EDWARDS, NOW_S, OTHER_RSA, RSA, SECRET, claims, jwk, jwks, segment, sign


@pytest.fixture(params=["fresh", "header seen"])
def dev(request: pytest.FixtureRequest) -> JwtVerifier:
    """Fresh, and after a token with the same header has passed: what follows is judged alike on both ways."""
    verifier = JwtVerifier(JwtSettings(hs256_secret=SECRET))
    if request.param == "header seen":
        first = sign(SECRET, "HS256", sub="first")
        verifier.verify(first, now_s=NOW_S)
        verifier._remembered.forget(first)
        assert list(verifier._remembered.headers) == [first.partition(".")[0]]
    return verifier


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "jwks.json"
    path.write_bytes(jwks(jwk(RSA, "rsa"), jwk(EDWARDS, "ed"), jwk(CURVE, "ec")))
    return path


@pytest.fixture
def public(key_file: Path) -> JwtVerifier:
    return JwtVerifier(JwtSettings(jwks=str(key_file), hs256_secret=SECRET))


def refused(verifier: JwtVerifier, token: str, *, now_s: float = NOW_S) -> str:
    with pytest.raises(TokenRefused) as caught:
        verifier.verify(token, now_s=now_s)
    return str(caught.value)


def test_a_dev_token_speaks_for_its_buyer_until_it_expires(dev: JwtVerifier) -> None:
    token = issue_dev_token(SECRET, "ann", ttl_s=60, audience="saleops", now_s=NOW_S)

    assert dev.verify(token, now_s=NOW_S).buyer == "ann"
    assert dev.verify(token, now_s=NOW_S + 64.9).expires_s == int(NOW_S) + 60
    assert refused(dev, token, now_s=NOW_S + 65) == "expired"
    assert refused(dev, token, now_s=NOW_S + 65) == "expired"


@pytest.mark.parametrize(
    ("private", "algorithm", "kid"),
    [(RSA, "RS256", "rsa"), (EDWARDS, "EdDSA", "ed"), (CURVE, "ES256", "ec")],
)
def test_each_key_type_verifies_its_own_algorithm(
    public: JwtVerifier, private: Any, algorithm: str, kid: str
) -> None:
    assert public.verify(sign(private, algorithm, kid=kid), now_s=NOW_S).buyer == "ann"


def test_a_jwks_never_verifies_a_shared_secret_not_even_the_public_key_as_one(
    public: JwtVerifier,
) -> None:
    pem = RSA.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    body = f"{segment({'alg': 'HS256', 'typ': 'JWT', 'kid': 'rsa'})}.{segment(claims())}"
    forged = hmac.new(pem, body.encode(), hashlib.sha256).digest()
    signature = base64.urlsafe_b64encode(forged).rstrip(b"=").decode()

    assert "algorithm" in refused(public, f"{body}.{signature}")
    assert "algorithm" in refused(public, sign(SECRET, "HS256", kid="rsa"))
    assert "algorithm" in refused(public, sign(SECRET, "HS256", kid=None))


@pytest.mark.parametrize("algorithm", ["RS384", "RS512", "PS256"])
def test_an_rsa_key_verifies_rs256_only(public: JwtVerifier, algorithm: str) -> None:
    assert "algorithm" in refused(public, sign(RSA, algorithm, kid="rsa"))


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_the_secret_verifies_hs256_only(dev: JwtVerifier, algorithm: str) -> None:
    with_long_secret = SECRET * 2
    verifier = JwtVerifier(JwtSettings(hs256_secret=with_long_secret))
    assert "alg" in refused(verifier, sign(with_long_secret, algorithm))


@pytest.mark.parametrize("kind", ["dev", "public"])
@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE", "", None, 0, ["HS256"]])
def test_an_unsigned_token_lets_nobody_in(
    kind: str, name: Any, dev: JwtVerifier, public: JwtVerifier
) -> None:
    verifier = {"dev": dev, "public": public}[kind]
    for signature in ("", "AAAA"):
        refused(verifier, f"{segment({'alg': name, 'kid': 'rsa'})}.{segment(claims())}.{signature}")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"aud": "another"}, "Audience"),
        ({"aud": None}, "aud"),
        ({"aud": ["another", "yet-another"]}, "Audience"),
        ({"aud": {"saleops": 1}}, "claim format"),
        ({"exp": int(NOW_S) - 6}, "expired"),
        ({"exp": None}, "exp is missing"),
        ({"exp": "tomorrow"}, "exp is no time"),
        ({"exp": True}, "exp is no time"),
        ({"exp": 10**400}, "exp is no time"),
        ({"exp": float("nan")}, "exp is no time"),
        ({"exp": float("inf")}, "exp is no time"),
        ({"exp": -1}, "exp is no time"),
        ({"nbf": int(NOW_S) + 6}, "not valid yet (nbf)"),
        ({"nbf": "now"}, "nbf is no time"),
        ({"iat": int(NOW_S) + 6}, "not valid yet (iat)"),
        ({"sub": None}, "sub"),
        ({"sub": ""}, "sub"),
        ({"sub": 7}, "sub"),
        ({"sub": "a" * 129}, "sub"),
        ({"sub": "ann bob"}, "sub"),
        ({"sub": "ann\0"}, "sub"),
        ({"sub": "ann\n"}, "sub"),
        ({"sub": "änn"}, "sub"),
        ({"sub": "{ann}"}, "sub"),
    ],
)
def test_wrong_claims_are_refused(dev: JwtVerifier, changes: dict[str, Any], why: str) -> None:
    body = f"{segment({'alg': 'HS256', 'typ': 'JWT'})}.{segment(claims(**changes))}"
    key = jwt.PyJWK({"kty": "oct", "k": base64.urlsafe_b64encode(SECRET.encode()).decode()})
    signature = key.Algorithm.sign(body.encode(), key.key)
    token = f"{body}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"

    assert why.lower() in refused(dev, token).lower()


@pytest.mark.parametrize(
    "buyer", ["auth0|5f7c8ec7", "ann@example.com", "a" * 128, "7", "urn:x/y=1"]
)
def test_the_ids_that_issuers_really_use_are_buyers(dev: JwtVerifier, buyer: str) -> None:
    token = issue_dev_token(SECRET, buyer, ttl_s=60, audience="saleops", now_s=NOW_S)
    assert dev.verify(token, now_s=NOW_S).buyer == buyer


def test_the_issuer_is_checked_where_one_is_named() -> None:
    verifier = JwtVerifier(JwtSettings(hs256_secret=SECRET, issuer="https://id.example"))

    assert verifier.verify(sign(SECRET, "HS256", iss="https://id.example"), now_s=NOW_S)
    assert "issuer" in refused(verifier, sign(SECRET, "HS256", iss="https://evil.example")).lower()
    assert "iss" in refused(verifier, sign(SECRET, "HS256"))


def test_one_of_several_audiences_is_enough(dev: JwtVerifier) -> None:
    assert dev.verify(sign(SECRET, "HS256", aud=["shop", "saleops"]), now_s=NOW_S)


def test_a_changed_signature_payload_or_key_is_refused(
    dev: JwtVerifier, public: JwtVerifier
) -> None:
    head, body, signature = sign(SECRET, "HS256").split(".")
    refused(dev, f"{head}.{segment(claims(sub='bob'))}.{signature}")
    refused(dev, f"{head}.{body}.{signature[:-4]}AAAA")
    refused(dev, f"{head}.{body}")
    refused(public, sign(OTHER_RSA, "RS256", kid="rsa"))
    refused(public, sign(RSA, "RS256", kid="ed"))


def test_a_token_past_8_kib_is_not_even_parsed(dev: JwtVerifier) -> None:
    long = sign(SECRET, "HS256", padding="x" * 8192)
    assert refused(dev, long) == "too long"


@given(st.text(max_size=300))
def test_garbage_is_refused_and_never_raises_anything_else(text: str) -> None:
    verifier = JwtVerifier(JwtSettings(hs256_secret=SECRET))
    for token in (text, f"{segment({'alg': 'HS256'})}.{text}.AAAA", f"{text}.{text}.{text}"):
        refused(verifier, token)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=4))
def test_no_header_can_be_made_up_that_breaks_the_verifier(value: Any) -> None:
    verifier = JwtVerifier(JwtSettings(hs256_secret=SECRET))
    for name in ("alg", "kid", "crit", "b64", "typ"):
        head = segment({"alg": "HS256", name: value})
        refused(verifier, f"{head}.{segment(claims())}.AAAA")
    refused(verifier, f"{segment(value)}.{segment(value)}.AAAA")


def test_a_token_that_passed_is_not_verified_again_and_a_refused_one_is_not_remembered(
    dev: JwtVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []
    real = JwtVerifier._verify

    def counting(verifier: JwtVerifier, token: str, now_s: float) -> Any:
        decoded.append(token)
        return real(verifier, token, now_s)

    monkeypatch.setattr(JwtVerifier, "_verify", counting)
    good, bad = sign(SECRET, "HS256"), sign("x" * 40, "HS256")
    for _ in range(3):
        dev.verify(good, now_s=NOW_S)
        refused(dev, bad)

    assert decoded.count(good) == 1
    assert decoded.count(bad) == 3


def test_memory_for_tokens_is_bounded_by_number_and_by_size(
    dev: JwtVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = [sign(SECRET, "HS256", sub=f"buyer-{n}") for n in range(12)]
    monkeypatch.setattr(jwt_tokens, "REMEMBERED_MAX", 5)
    for token in tokens:
        dev.verify(token, now_s=NOW_S)
    assert list(dev._remembered.identities) == tokens[-5:]

    monkeypatch.setattr(jwt_tokens, "REMEMBERED_MAX_CHARS", 2 * len(tokens[0]) + 10)
    dev.verify(tokens[0], now_s=NOW_S)
    assert len(dev._remembered.identities) == 2
    assert dev._remembered.chars == sum(map(len, dev._remembered.identities))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (JwtSettings(), "nothing to check tokens with"),
        (JwtSettings(hs256_secret="short"), "the HS256 secret has 5 bytes"),
        (JwtSettings(hs256_secret=SECRET, audience=""), "audience is empty"),
        (JwtSettings(hs256_secret=SECRET, leeway_s=-1), "leeway_s"),
        (JwtSettings(jwks="/nowhere/jwks.json"), "cannot read the token keys"),
        (JwtSettings(jwks="http://id.example/jwks"), "cannot come from http://id.example/jwks"),
        (JwtSettings(jwks="ftp://id.example/jwks"), "cannot come from ftp://"),
        (JwtSettings(jwks="http://127.0.0.1.evil.example/jwks"), "cannot come from"),
    ],
)
def test_settings_that_cannot_be_safe_are_refused_at_start(
    settings: JwtSettings, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        JwtVerifier(settings)
    assert message in caught.value.message
    assert caught.value.hint


def test_the_address_is_shown_without_its_secrets() -> None:
    with pytest.raises(ConfigError) as caught:
        JwtVerifier(JwtSettings(jwks="http://user:hunter2@id.example:8080/jwks?key=hunter2"))
    assert "hunter2" not in caught.value.message
    assert "http://id.example:8080/jwks" in caught.value.message


@pytest.mark.parametrize(
    ("buyer", "ttl_s", "secret"),
    [("", 60, SECRET), ("ann bob", 60, SECRET), ("ann", 0, SECRET)],
)
def test_no_dev_token_is_made_that_could_never_be_used(buyer: str, ttl_s: int, secret: str) -> None:
    with pytest.raises(ValueError, match=r"buyer id|cannot live"):
        issue_dev_token(secret, buyer, ttl_s=ttl_s, audience="saleops", now_s=NOW_S)


def test_a_weak_secret_signs_nothing() -> None:
    with pytest.raises(ConfigError):
        issue_dev_token("weak", "ann", ttl_s=60, audience="saleops", now_s=NOW_S)
