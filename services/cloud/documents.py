"""JSON documents that travel inside a parameter."""

import json
from typing import Any

from saleops.services.cloud.answers import ApiError


def document_in(sent: Any, name: str, *, code: str = "InvalidParameter") -> Any:
    """What ``sent`` says as JSON; a value that was parsed before stays as it is."""
    if not isinstance(sent, str):
        return sent
    try:
        return json.loads(sent)
    except (ValueError, RecursionError):
        raise ApiError(400, code, f"{name} is not JSON: {sent[:200]!r}") from None


def object_in(sent: Any, name: str, *, code: str = "InvalidParameter") -> dict[str, Any]:
    document = document_in(sent, name, code=code)
    if not isinstance(document, dict):
        raise ApiError(400, code, f"{name} is not a JSON object: {sent!r:.200}")
    return document


def objects_in(sent: Any, name: str, *, code: str = "InvalidParameter") -> list[dict[str, Any]]:
    document = document_in(sent, name, code=code)
    if not isinstance(document, list) or not all(isinstance(each, dict) for each in document):
        raise ApiError(400, code, f"{name} is not a JSON list of objects: {sent!r:.200}")
    return document


def compact(document: Any) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))
