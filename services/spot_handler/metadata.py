"""The instance's metadata service, asked for one thing: is this machine about to be reclaimed, and when?

    GET /latest/meta-data/instance/spot/termination-time     404: not now; else "2026-11-05T16:05:00Z", about 5 minutes ahead
    PUT /latest/api/token                                    hardened mode: the header that opens the rest, for a while

An answer is one of three: only a 404 of that very path means "safe", only a time that can be read is a notice, and whatever
else happens is "unknown", never "safe". A token comes first; a service without the token path (404, 405) is asked without
one, and asked for a token again after a while, because hardening can be switched on while we run. 403 means that the token is
not, or no longer, good: renew it.
(Alibaba Cloud ECS, "Instance metadata", "Preemptible instances".)
"""

import http.client
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

TERMINATION = "/latest/meta-data/instance/spot/termination-time"
INSTANCE_ID = "/latest/meta-data/instance-id"
ZONE = "/latest/meta-data/zone-id"
TOKEN = "/latest/api/token"  # noqa: S105 - a path
TTL_HEADER = "X-aliyun-ecs-metadata-token-ttl-seconds"
TOKEN_HEADER = "X-aliyun-ecs-metadata-token"  # noqa: S105 - a header's name

TOKEN_TTL_S = 3600
RENEW_AT = 0.8  # of the token's life
OPEN_MODE_S = 300.0  # for so long a service without tokens is believed to have none
TIMEOUT_S = 1.0
ATTEMPTS = 3
PAUSE_S = 0.2
BODY_MAX = 4096
SKEW_FLOOR_S = 1.5  # a Date header is whole seconds: less is no skew
ASSUMED_S = 180.0
"""A notice whose time is over or absurdly far: the machine goes this long after we first saw it. Notices are 300 s ahead."""


@dataclass(frozen=True, slots=True)
class Safe:
    """No reclaim is announced."""

    skew_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Notice:
    """``skew_s``: the cloud's clock minus ours."""

    terminates: datetime
    text: str
    skew_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Unknown:
    why: str


Answer = Safe | Notice | Unknown


class _Failed(Exception):
    """One request that brought no answer to go by."""


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    body: bytes
    date: str
    took_s: float


class Metadata:
    """Used by one thread."""

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = TIMEOUT_S,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port or 80
        self._timeout_s = timeout_s
        self._now = now
        self._monotonic = monotonic
        self._sleep = sleep
        self._token = ""
        self._renew_at_s = 0.0
        self._open_until_s = 0.0

    def termination(self) -> Answer:
        """Never raises; a few seconds at most."""
        text = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                self._sleep(PAUSE_S)
            try:
                reply = self._get(TERMINATION)
            except _Failed as error:
                return Unknown(str(error))
            skew_s = self._skew_s(reply)
            if reply.status == 404:
                return Safe(skew_s)
            if reply.status != 200:
                return Unknown(f"the metadata service answered {reply.status}")
            text = reply.body.decode("utf-8", "replace").strip()[:64]
            terminates = read_time(text)
            if terminates is not None:
                return Notice(terminates, text, skew_s)
        return Unknown(f"the metadata service's termination time is none: {text!r}")

    def instance_id(self) -> str:
        """Empty where it cannot be had."""
        return self._text(INSTANCE_ID)

    def zone(self) -> str:
        return self._text(ZONE)

    def _text(self, path: str) -> str:
        try:
            reply = self._get(path)
        except _Failed:
            return ""
        text = reply.body.decode("utf-8", "replace").strip()
        return text if reply.status == 200 and re.fullmatch(r"[A-Za-z0-9._-]{1,128}", text) else ""

    def _get(self, path: str) -> _Reply:
        why = "no attempt"
        renewed = False
        for attempt in range(ATTEMPTS):
            if attempt:
                self._sleep(PAUSE_S)
            try:
                headers = self._headers()
                reply = self._once("GET", path, headers)
                if reply.status in (401, 403):
                    self._token, self._open_until_s = "", 0.0
                    why = f"the metadata service refuses our token ({reply.status})"
                    if renewed:
                        break
                    renewed = True
                    continue
                if reply.status < 500:
                    return reply
                why = f"the metadata service answered {reply.status}"
            except _Failed as error:
                why = str(error)
        raise _Failed(why)

    def _headers(self) -> dict[str, str]:
        now_s = self._monotonic()
        if self._token and now_s < self._renew_at_s:
            return {TOKEN_HEADER: self._token}
        if not self._token and now_s < self._open_until_s:
            return {}
        reply = self._once("PUT", TOKEN, {TTL_HEADER: str(TOKEN_TTL_S)})
        if reply.status == 200:
            token = reply.body.decode("latin-1").strip()
            if not re.fullmatch(r"[\x21-\x7e]{1,1024}", token):
                raise _Failed("the metadata service gave a token that is none")
            self._token, self._renew_at_s = token, now_s + TOKEN_TTL_S * RENEW_AT
            return {TOKEN_HEADER: token}
        self._token = ""
        if reply.status in (404, 405):
            self._open_until_s = now_s + OPEN_MODE_S
            return {}
        raise _Failed(f"the metadata service gives no token ({reply.status})")

    def _once(self, method: str, path: str, headers: dict[str, str]) -> _Reply:
        began_s = self._monotonic()
        connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        try:
            connection.request(method, path, headers={"User-Agent": "saleops", **headers})
            answer = connection.getresponse()
            body = answer.read(BODY_MAX)
            date = answer.getheader("Date") or ""
        except (OSError, http.client.HTTPException, ValueError) as error:
            text = " ".join(str(error).split())[:200] or type(error).__name__
            raise _Failed(f"the metadata service does not answer: {text}") from None
        finally:
            connection.close()
        return _Reply(answer.status, body, date, self._monotonic() - began_s)

    def _skew_s(self, reply: _Reply) -> float:
        try:
            theirs = parsedate_to_datetime(reply.date)
        except (ValueError, TypeError):
            return 0.0
        if theirs.tzinfo is None:
            theirs = theirs.replace(tzinfo=UTC)
        # The Date is whole seconds, cut off, and was written somewhere during the call.
        ours = self._now() - timedelta(seconds=reply.took_s / 2)
        skew_s = (theirs - ours).total_seconds() + 0.5
        return skew_s if abs(skew_s) > SKEW_FLOOR_S else 0.0


def read_time(text: str) -> datetime | None:
    """ "2026-11-05T16:05:00Z", with or without a fraction of a second. None for anything else."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z", text, re.ASCII):
        return None
    try:
        return datetime.strptime(text[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return None
