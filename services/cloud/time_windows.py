"""Spans of time: the days that quotas count, and the from and to of a query."""

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone

from saleops.services.cloud.answers import ApiError, LocalCall
from saleops.services.cloud.timestamps import ms_of

DAY_MS = 86_400_000
CLOUD_DAY = timezone(timedelta(hours=8))
"""Daily quotas of the provider begin anew at midnight, UTC+8."""


def cloud_day(at_ms: int) -> str:
    """The day that a daily quota counts ``at_ms`` to: ``2026-11-11``."""
    return datetime.fromtimestamp(at_ms / 1000, CLOUD_DAY).strftime("%Y-%m-%d")


def asked_window(
    call: LocalCall,
    *,
    now_ms: int,
    span_ms: int,
    fields: tuple[str, str] = ("StartTime", "EndTime"),
) -> tuple[int, int]:
    """From and to of a query as asked, else the last ``span_ms``. The end must come after the start."""
    start_ms, end_ms = ms_of(call, fields[0]), ms_of(call, fields[1])
    end_ms = now_ms if end_ms is None else end_ms
    start_ms = end_ms - span_ms if start_ms is None else start_ms
    if end_ms <= start_ms:
        sent: Mapping[str, object] = call.params
        raise ApiError(
            400,
            f"Invalid{fields[1]}.Mismatch",
            f"{fields[1]} {sent.get(fields[1])!r} must be after {fields[0]} {sent.get(fields[0])!r}",
        )
    return start_ms, end_ms
