"""How work fails: one small tree of foreseen failures, each with the exit code it ends a command with.

    SaleopsError
    ├── ConfigError        2  a file, a flag or an argument is wrong; every wrong field is named
    ├── GateFailed         3  the work ran and its verdict is bad: findings, drift, NO-GO
    ├── UpstreamError      4  an outside system failed, refused us or timed out
    │   └── StoreUnavailable  Redis, the database or the broker cannot be reached or answered nonsense
    └── Refused            5  unsafe, or needs a confirmation that was not given

A bug exits 1 with its traceback (under ``--debug``; otherwise the traceback goes to a file that the message
names), Ctrl-C is 130 and SIGTERM 143. Only ``cli/main.py`` turns these into ``error:`` and ``hint:`` lines.
"""

from typing import ClassVar


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


class Refused(SaleopsError):
    """Not done because it is unsafe, or because nobody confirmed it."""

    exit_code = 5
