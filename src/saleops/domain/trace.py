"""The trace a buyer's request belongs to: W3C Trace Context, level 1 (www.w3.org/TR/trace-context-1, read 2026-11-23).

A ``traceparent`` is ``VERSION-TRACE_ID-PARENT_ID-FLAGS`` in lower-case hex digits of 2, 32, 16 and 2. It comes from a stranger:
what does not fit is ignored, as the specification asks, and never an error. It travels in the body of messages, so that
every broker carries it, and names the buyer's request in the log lines of an order that fails.
"""

import re

_FIELDS = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_LENGTH_MAX = 512  # a version of the future may be longer; not for ever
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16


def traceparent_of(header: str | None) -> str:
    """``header`` as we pass it on; empty for one that is missing or malformed.

    A later version than 00 is read as far as 00 knows it, and passed on as 00.
    """
    if not header or len(header) > _LENGTH_MAX:
        return ""
    found = _FIELDS.fullmatch(header.strip(" \t"))
    if found is None:
        return ""
    version, trace_id, parent_id, flags, rest = found.groups()
    if version == "ff" or (version == "00" and rest):
        return ""
    if trace_id == _NO_TRACE or parent_id == _NO_SPAN:
        return ""
    return f"00-{trace_id}-{parent_id}-{flags}"


def child_of(traceparent: str, span_id: str) -> str:
    """The same trace, continued by our own span. ``traceparent`` is one that ``traceparent_of`` gave."""
    return f"{traceparent[:36]}{span_id}{traceparent[52:]}"


def new_trace(trace_id: str, span_id: str) -> str:
    """A trace that begins with us. Its flags say that nobody records it."""
    return f"00-{trace_id}-{span_id}-00"


def in_words(traceparent: str) -> str:
    """`` (trace ID)`` for a log line; empty without a trace."""
    return f" (trace {traceparent[3:35]})" if traceparent else ""
