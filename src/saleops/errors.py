"""How work fails: one small tree of foreseen failures, each with the exit code it ends a command with.

    SaleopsError
    ├── ConfigError        2  a file, a flag or an argument is wrong; every wrong field is named
    ├── GateFailed         3  the work ran and its verdict is bad: findings, drift, NO-GO
    ├── UpstreamError      4  an outside system failed, refused us or timed out
    │   ├── StoreUnavailable  Redis, the database or the broker cannot be reached or answered nonsense
    │   ├── CloudError        Alibaba Cloud refused a call, or nobody knows what became of it
    │   └── ClusterError      the Kubernetes API refused a call, or nobody knows what became of it
    └── Refused            5  unsafe, or needs a confirmation that was not given

A bug exits 1 with its traceback (under ``--debug``; otherwise the traceback goes to a file that the message
names), Ctrl-C is 130 and SIGTERM 143. Only ``cli/main.py`` turns these into ``error:`` and ``hint:`` lines.
"""

from typing import ClassVar, Literal


class SaleopsError(Exception):
    """A failure we foresaw. Raise a subclass."""

    exit_code: ClassVar[int]

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message  # what failed, and what was or was not changed
        self.hint = hint  # what to do next, best as a command


class ConfigError(SaleopsError):
    """A file, flag or argument is wrong. ``message`` may hold several lines, one per wrong field."""

    exit_code = 2


class GateFailed(SaleopsError):
    """The work ran to its end and the verdict is bad."""

    exit_code = 3


class UpstreamError(SaleopsError):
    """An outside system failed, refused us or timed out."""

    exit_code = 4


class StoreUnavailable(UpstreamError):
    """Redis, the database or the broker cannot be reached, or answered what it should not."""


CloudErrorKind = Literal[
    "throttled", "busy", "unknown", "missing", "exists", "denied", "quota", "invalid", "failed"
]


class CloudError(UpstreamError):
    """Alibaba Cloud refused a call, or nobody knows what became of it.

    ``kind`` says what may be done: "throttled" and "busy" calls were not carried out and may be sent again; of an
    "unknown" one (no answer, HTTP 5xx) nobody knows; the others are answers. ``code`` and ``request_id`` are the API's own, empty
    where there was no answer.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: CloudErrorKind,
        code: str = "",
        request_id: str = "",
        status: int = 0,
        retry_after_s: float | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.kind = kind
        self.code = code
        self.request_id = request_id
        self.status = status
        self.retry_after_s = retry_after_s

    @property
    def retryable(self) -> bool:
        return self.kind in ("throttled", "busy", "unknown")


ClusterErrorKind = Literal[
    "unreachable",
    "unauthenticated",
    "denied",
    "missing",
    "exists",
    "conflict",
    "throttled",
    "busy",
    "unknown",
    "invalid",
    "failed",
]


class ClusterError(UpstreamError):
    """The Kubernetes API refused a call, or nobody knows what became of it.

    ``kind`` says what may be done: "unreachable", "throttled" and "busy" calls were not carried out; of an "unknown" one (its
    answer was lost, HTTP 5xx) nobody knows; a "conflict" was not carried out, because the object is no longer what it was.
    ``reason`` is the API's own word ("Forbidden"), empty where there was no answer.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: ClusterErrorKind,
        reason: str = "",
        status: int = 0,
        retry_after_s: float | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.kind = kind
        self.reason = reason
        self.status = status
        self.retry_after_s = retry_after_s

    @property
    def retryable(self) -> bool:
        return self.kind in ("unreachable", "throttled", "busy", "unknown")


class Refused(SaleopsError):
    """Not done because it is unsafe, or because nobody confirmed it."""

    exit_code = 5
