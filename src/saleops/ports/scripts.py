"""A place to try a Redis script: a server of our own with nothing in it, never one that holds anybody's data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Content = str | Mapping[str, str]
"""What a key holds: a text, or a hash's fields."""


@dataclass(frozen=True, slots=True)
class Ran:
    """How a run ended: with an ``answer`` (bytes as text); with an error that the script ``replied`` on purpose; with one that
    was ``raised`` inside it, at ``line`` (0: not told); or ``stuck``, stopped by us. ``after`` is what the keys hold then."""

    end: Literal["answered", "replied", "raised", "stuck"]
    answer: Any = None
    error: str = ""
    line: int = 0
    after: Mapping[str, Content] = field(default_factory=dict)


class ScriptBench(Protocol):
    """Every run begins with the keys it is given and nothing else, unless told to go on."""

    def run(
        self,
        script: str,
        keys: Sequence[str],
        arguments: Sequence[str],
        *,
        before: Mapping[str, Content] | None,
    ) -> Ran:
        """Run ``script`` once. ``before`` is what is there when it starts; None: whatever the last run left. Bounded in time.

        Raises UpstreamError when the server cannot be used.
        """
        ...
