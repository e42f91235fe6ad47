"""What a request gives, read without trusting it: a field of the wrong type reads as one that was left out."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from saleops.cloudapi.problem import Problem, ProblemCode


class Given:
    """One object of a request and its place in it."""

    def __init__(self, value: Any, at: str = "") -> None:
        self._fields: Mapping[str, Any] = value if isinstance(value, Mapping) else {}
        self._at = at

    def has(self, name: str) -> bool:
        """Given at all, with whatever value; null is left out, and so are empty text and an empty list."""
        return self._fields.get(name) not in (None, "", [], ())

    def text(self, name: str) -> str:
        """Empty where there is none."""
        value = self._fields.get(name)
        return value if isinstance(value, str) else ""

    def whole(self, name: str) -> int | None:
        value = self._fields.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def is_true(self, name: str) -> bool:
        return self._fields.get(name) is True

    def texts(self, name: str) -> list[str]:
        """The texts in a list."""
        value = self._fields.get(name)
        return [entry for entry in value if isinstance(entry, str)] if _is_list(value) else []

    def inner(self, name: str) -> "Given":
        return Given(self._fields.get(name), self.where(name))

    def each(self, name: str) -> list["Given"]:
        """The objects in a list, each with its place."""
        value = self._fields.get(name)
        if not _is_list(value):
            return []
        return [
            Given(entry, f"{self.where(name)}[{number}]")
            for number, entry in enumerate(value)
            if isinstance(entry, Mapping)
        ]

    def where(self, name: str) -> str:
        return f"{self._at}.{name}" if self._at else name

    def problem(self, name: str, code: ProblemCode, message: str) -> Problem:
        return Problem(self.where(name), code, message)


def _is_list(value: Any) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, list | tuple)
