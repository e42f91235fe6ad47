"""Where the keys come from: only from where nobody can put in their own, and the old ones stay when that fails."""

from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from saleops.adapters import jwt_keys
from saleops.adapters.jwt_tokens import JwtVerifier
from saleops.config.settings import JwtSettings
from saleops.errors import ConfigError, UpstreamError
from saleops.ports.tokens import KeysNotReady, TokenRefused
from signing import EDWARDS, NOW_S, OTHER_RSA, RSA, jwk, jwks, sign


def refused(verifier: JwtVerifier, token: str) -> str:
    with pytest.raises(TokenRefused) as caught:
        verifier.verify(token, now_s=NOW_S)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"<html>", "not JSON"),
        (b"[]", "no list `keys`"),
        (b'{"keys": {}}', "no list `keys`"),
        (b'{"keys": []}', "the list is empty"),
        (b'{"keys": [7]}', "not an object"),
        (jwks({"kty": "oct", "k": "AAAA"}), "kty oct is not used"),
        (jwks({"kty": "RSA", "n": "!!", "e": "AQAB"}), "malformed"),
        (jwks(jwk(RSA, use="enc")), "not for verifying"),
        (jwks(jwk(RSA, key_ops=["sign"])), "not for verifying"),
        (jwks(jwk(RSA, alg="PS256")), "alg PS256"),
        (jwks(jwk(RSA, d="AQAB")), "private key"),
        (jwks(jwk(RSA, kid=7)), "kid is not a string"),
        (
            jwks(jwk(rsa.generate_private_key(public_exponent=65537, key_size=1024))),
            "too short",
        ),
    ],
    # Keys are made anew in every process: they must not be part of a test's name.
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_a_document_without_a_usable_key_is_refused_at_start(
    tmp_path: Path, text: bytes, message: str
) -> None:
    path = tmp_path / "jwks.json"
    path.write_bytes(text)
    with pytest.raises(ConfigError) as caught:
        JwtVerifier(JwtSettings(jwks=str(path)))
    assert message in caught.value.message


def test_a_token_without_kid_is_verified_by_the_only_key_of_its_algorithm(
    tmp_path: Path,
) -> None:
    path = tmp_path / "jwks.json"
    path.write_bytes(jwks(jwk(RSA, "a"), jwk(EDWARDS, "b")))
    one = JwtVerifier(JwtSettings(jwks=str(path)))
    assert one.verify(sign(RSA, "RS256", kid=None), now_s=NOW_S)

    path.write_bytes(jwks(jwk(RSA, "a"), jwk(OTHER_RSA, "b")))
    two = JwtVerifier(JwtSettings(jwks=str(path)))
    assert refused(two, sign(RSA, "RS256", kid=None)) == "unknown key"


class Issuer:
    """A URL's content, a clock to move, and refreshes that run when the test says so."""

    url = "https://id.example/jwks"

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.text: bytes | Exception = jwks(*keys)
        self.fetches = 0
        self.now_s = 1000.0
        self.waiting: list[Callable[[], None]] = []

    def fetch(self, url: str) -> bytes:
        assert url == self.url
        self.fetches += 1
        if isinstance(self.text, Exception):
            raise self.text
        return self.text

    def verifier(self) -> JwtVerifier:
        return JwtVerifier(
            JwtSettings(jwks=self.url),
            fetch=self.fetch,
            monotonic_s=lambda: self.now_s,
            spawn=self.waiting.append,
        )

    def run_refresh(self) -> None:
        self.waiting.pop()()


def test_an_unknown_key_id_fetches_at_most_every_30_seconds_and_off_the_request_path() -> None:
    issuer = Issuer(jwk(RSA, "old"))
    verifier = issuer.verifier()
    token = sign(OTHER_RSA, "RS256", kid="new")
    assert refused(verifier, token) == "unknown key"  # loaded a moment ago: no fetch

    issuer.text = jwks(jwk(RSA, "old"), jwk(OTHER_RSA, "new"))
    issuer.now_s += jwt_keys.UNKNOWN_KID_PAUSE_S
    for _ in range(5):
        with pytest.raises(KeysNotReady):
            verifier.verify(token, now_s=NOW_S)
    assert (issuer.fetches, len(issuer.waiting)) == (1, 1)

    issuer.run_refresh()
    assert verifier.verify(token, now_s=NOW_S).buyer == "ann"
    for n in range(50):
        assert refused(verifier, sign(RSA, "RS256", kid=f"made-up-{n}")) == "unknown key"
    assert (issuer.fetches, issuer.waiting) == (2, [])


def test_old_keys_stay_in_use_when_a_refresh_fails_or_brings_rubbish() -> None:
    issuer = Issuer(jwk(RSA, "old"))
    verifier = issuer.verifier()
    for n, failure in enumerate((UpstreamError("down"), b"<html>", b'{"keys": []}')):
        issuer.text = failure
        issuer.now_s += jwt_keys.MAX_AGE_S
        assert verifier.verify(sign(RSA, "RS256", kid="old", sub=f"b{n}"), now_s=NOW_S)
        issuer.run_refresh()
        assert verifier.verify(sign(RSA, "RS256", kid="old", sub=f"c{n}"), now_s=NOW_S)
    assert issuer.fetches == 4


def test_a_withdrawn_key_lets_nobody_in_after_the_refresh_even_tokens_seen_before() -> None:
    issuer = Issuer(jwk(RSA, "old"))
    verifier = issuer.verifier()
    token = sign(RSA, "RS256", kid="old")
    assert verifier.verify(token, now_s=NOW_S)

    issuer.text = jwks(jwk(OTHER_RSA, "new"))
    issuer.now_s += jwt_keys.MAX_AGE_S
    assert verifier.verify(sign(RSA, "RS256", kid="old", sub="bob"), now_s=NOW_S)
    issuer.run_refresh()

    assert refused(verifier, token) == "unknown key"


def test_a_refresh_that_crashes_does_not_end_refreshing() -> None:
    issuer = Issuer(jwk(RSA, "old"))
    verifier = issuer.verifier()
    issuer.text = RuntimeError("bug")
    issuer.now_s += jwt_keys.UNKNOWN_KID_PAUSE_S
    with pytest.raises(KeysNotReady):
        verifier.verify(sign(RSA, "RS256", kid="new"), now_s=NOW_S)
    with pytest.raises(RuntimeError):
        issuer.run_refresh()

    issuer.now_s += jwt_keys.UNKNOWN_KID_PAUSE_S
    with pytest.raises(KeysNotReady):
        verifier.verify(sign(RSA, "RS256", kid="new"), now_s=NOW_S)
    assert len(issuer.waiting) == 1


def test_a_key_file_is_read_again_when_a_new_key_is_asked_for(tmp_path: Path) -> None:
    now_s = [0.0]
    key_file = tmp_path / "jwks.json"
    key_file.write_bytes(jwks(jwk(RSA, "old")))
    verifier = JwtVerifier(JwtSettings(jwks=str(key_file)), monotonic_s=lambda: now_s[0])
    key_file.write_bytes(jwks(jwk(OTHER_RSA, "new")))
    now_s[0] += jwt_keys.UNKNOWN_KID_PAUSE_S

    assert verifier.verify(sign(OTHER_RSA, "RS256", kid="new"), now_s=NOW_S)


@pytest.fixture
def issuer_url() -> Iterator[str]:
    """A real HTTP server on loopback: /jwks answers, /moved redirects, /broken fails, /endless never ends."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/jwks":
                body = jwks(jwk(RSA, "k1"))
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            elif self.path == "/endless":
                self.send_response(200)
                self.end_headers()
                try:
                    while True:
                        self.wfile.write(b" " * 65536)
                except OSError:
                    return
            else:
                self.send_response(302 if self.path == "/moved" else 500)
                self.send_header("location", "/jwks")
                self.send_header("content-length", "0")
                self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_keys_are_fetched_over_http(issuer_url: str) -> None:
    verifier = JwtVerifier(JwtSettings(jwks=f"{issuer_url}/jwks"))
    assert verifier.verify(sign(RSA, "RS256"), now_s=NOW_S).buyer == "ann"


@pytest.mark.parametrize(
    ("path", "why"),
    [("/moved", "status 302"), ("/broken", "status 500"), ("/endless", "more than")],
)
def test_an_issuer_that_misbehaves_is_an_upstream_error(
    issuer_url: str, path: str, why: str
) -> None:
    with pytest.raises(UpstreamError) as caught:
        JwtVerifier(JwtSettings(jwks=issuer_url + path))
    assert why in caught.value.message


def test_an_issuer_that_is_down_is_an_upstream_error() -> None:
    with pytest.raises(UpstreamError) as caught:
        JwtVerifier(JwtSettings(jwks="http://127.0.0.1:9/jwks"))
    assert "ConnectError" in caught.value.message
