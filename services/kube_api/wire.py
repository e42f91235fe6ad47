"""What travels: a request as it arrived, and an answer, which is one document or a stream of watch events."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import msgspec

from saleops.services.kube_api.refusals import KubeError, bad_request

if TYPE_CHECKING:
    from saleops.services.kube_api.watching import Watch

BODY_MAX = 3 * 1024 * 1024
FIELDS_MAX = 200


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. ``path`` is percent-decoded, ``query`` is not; header names are lower-case."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def header(self, name: str) -> str:
        return self.headers.get(name, "").strip()

    @property
    def content_type(self) -> str:
        return self.header("content-type").partition(";")[0].strip().lower()

    def asked(self) -> dict[str, str]:
        try:
            pairs = parse_qsl(
                self.query, keep_blank_values=True, errors="replace", max_num_fields=FIELDS_MAX
            )
        except ValueError:
            raise bad_request("the query is too long") from None
        found: dict[str, str] = {}
        for name, value in pairs:
            found.setdefault(name, value)
        return found

    def document(self) -> Any:
        """The body. Raises KubeError 400; YAML is read where the content type names it."""
        if len(self.body) > BODY_MAX:
            raise KubeError(413, f"limit is {BODY_MAX}")
        if not self.body:
            raise bad_request("the body is empty")
        if self.content_type == "application/vnd.kubernetes.protobuf":
            raise KubeError(415, "this API speaks JSON and YAML, not protobuf")
        try:
            document = msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            if "yaml" not in self.content_type:
                raise bad_request(f"the body is not JSON: {error}"[:200]) from None
            document = _yaml(self.body)
        return document


def _yaml(body: bytes) -> Any:
    import yaml

    try:
        document = yaml.safe_load(body)
        return json.loads(json.dumps(document, default=str, allow_nan=False))
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise bad_request(f"error decoding YAML: {error}"[:300]) from None


@dataclass(frozen=True, slots=True)
class Answer:
    """Sent after ``after_s`` of real time. A ``lost`` one never arrives: the connection is closed instead."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    watch: "Watch | None" = None
    after_s: float = 0.0
    lost: bool = False

    def document(self) -> Any:
        return msgspec.json.decode(self.body)


_JSON = ("content-type", "application/json")


def answer(status: int, document: Any) -> Answer:
    return Answer(status, msgspec.json.encode(document), (_JSON,))


def plain(status: int, text: str) -> Answer:
    return Answer(status, text.encode(), (("content-type", "text/plain; charset=utf-8"),))


def refusal(error: KubeError) -> Answer:
    headers = (_JSON,)
    if error.retry_after_s > 0:
        return Answer(
            error.code,
            msgspec.json.encode(error.status()),
            (*headers, ("retry-after", str(error.retry_after_s))),
        )
    return Answer(error.code, msgspec.json.encode(error.status()), headers)
