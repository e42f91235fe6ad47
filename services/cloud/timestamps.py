"""Instants as answers write them, always UTC."""

from datetime import UTC, datetime
from typing import Any

from saleops.services.cloud.answers import LocalCall
from saleops.services.cloud.refusals import wrong


def iso_s(at_ms: int) -> str:
    """``2026-11-10T08:00:00Z``"""
    return _at(at_ms).strftime("%Y-%m-%dT%H:%M:%SZ")


def iso_minute(at_ms: int) -> str:
    """``2026-11-10T08:00Z``, as ECS writes them."""
    return _at(at_ms).strftime("%Y-%m-%dT%H:%MZ")


def spaced(at_ms: int) -> str:
    """``2026-11-10 08:00:00``"""
    return _at(at_ms).strftime("%Y-%m-%d %H:%M:%S")


def ms_of(call: LocalCall, field: str) -> int | None:
    """The instant of a parameter in one of those forms; None where it was not sent."""
    text = call.params.get(field)
    return ms_of_text(field, text) if text else None


def ms_of_text(field: str, text: Any) -> int:
    for form in ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%MZ", "%Y-%m-%d %H:%M:%S"):
        try:
            return round(datetime.strptime(str(text), form).replace(tzinfo=UTC).timestamp() * 1000)
        except ValueError:
            continue
    raise wrong("InvalidParameter", field, text, "write it as 2026-11-10T08:00:00Z")


def _at(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)
