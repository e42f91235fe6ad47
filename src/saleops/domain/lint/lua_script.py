"""What a Redis script says of itself: its calls, the keys and arguments it takes, where its locals come from.

No parser: scripts are short, and what a rule wants to know (which command touches which key, what a local was set to) can be
told from the tokens. Where it cannot be told, nothing is assumed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from saleops.domain.lint.lua_tokens import LuaText, Token, read_lua

ARGUMENTS_MAX = 64
"""Beyond this an index is a mistake or data, not a slot somebody fills."""

_OPEN, _CLOSE = {"(", "{", "["}, {")", "}", "]"}
_BLOCK_ENDS = {
    "end",
    "else",
    "elseif",
    "return",
    "local",
    "if",
    "for",
    "while",
    "until",
    "then",
    "do",
}


@dataclass(frozen=True, slots=True)
class Call:
    """``redis.call("GET", key, ...)``: the command in capitals ("" where it is computed), arguments as tokens."""

    command: str
    arguments: tuple[tuple[Token, ...], ...]
    line: int
    column: int

    def key(self) -> tuple[Token, ...]:
        return self.arguments[0] if self.arguments else ()


@dataclass(eq=False)
class Script:
    """A Redis script, read. ``lua.comments`` are its words to people."""

    text: str
    lua: LuaText = field(init=False)

    def __post_init__(self) -> None:
        self.lua = read_lua(self.text)

    @property
    def tokens(self) -> tuple[Token, ...]:
        return self.lua.tokens

    @cached_property
    def calls(self) -> tuple[Call, ...]:
        return tuple(self._calls())

    @property
    def for_redis(self) -> bool:
        """Whether this is a Redis script at all."""
        return bool(self.calls)

    @cached_property
    def keys_count(self) -> int:
        """The highest KEYS[n]; a computed index counts as one more."""
        return self._slots("KEYS")

    @cached_property
    def arguments_count(self) -> int:
        return self._slots("ARGV")

    @cached_property
    def locals(self) -> dict[str, list[tuple[Token, ...]]]:
        """What is assigned to each name, in order."""
        found: dict[str, list[tuple[Token, ...]]] = {}
        tokens = self.tokens
        for i, token in enumerate(tokens):
            if token.kind != "mark" or token.text != "=":
                continue
            names = self._names_before(i)
            values = _split(self._expression(i + 1))
            for name, value in zip(names, values, strict=False):
                found.setdefault(name, []).append(value)
        return found

    def resolved(self, expression: Sequence[Token], depth: int = 4) -> Sequence[Token]:
        """What a lone name stands for, where it is set exactly once."""
        while depth and len(expression) == 1 and expression[0].kind == "name":
            set_to = self.locals.get(expression[0].text, [])
            if len(set_to) != 1 or not set_to[0]:
                break
            expression, depth = set_to[0], depth - 1
        return expression

    def key_slot(self, expression: Sequence[Token]) -> int | None:
        """n of ``KEYS[n]`` or of a local that is one."""
        return _slot(self.resolved(expression), "KEYS")

    def argument_slots(self, expression: Sequence[Token], depth: int = 4) -> set[int]:
        """Every n of ARGV[n] that goes into ``expression``, through locals too."""
        found = set()
        for i, token in enumerate(expression):
            if token.text == "ARGV" and (n := _slot(expression[i : i + 4], "ARGV")):
                found.add(n)
            elif token.kind == "name" and depth:
                for value in self.locals.get(token.text, ())[:4]:
                    found |= self.argument_slots(value, depth - 1)
        return found

    def _calls(self) -> Iterator[Call]:
        tokens = self.tokens
        aliases = {
            name
            for name, values in self.locals.items()
            if any([t.text for t in value] in _CALLS for value in values)
        }
        for i, token in enumerate(tokens):
            if token.kind != "name":
                continue
            at = None
            words = [t.text for t in tokens[i : i + 3]]
            if words in _CALLS and i + 3 < len(tokens) and tokens[i + 3].text == "(":
                at = i + 4
            elif token.text in aliases and i + 1 < len(tokens) and tokens[i + 1].text == "(":
                at = i + 2
            if at is None:
                continue
            parts = _split(_until_closed(tokens, at))
            command = (
                parts[0][0].text
                if parts and len(parts[0]) == 1 and parts[0][0].kind == "string"
                else ""
            )
            yield Call(command.upper(), tuple(parts[1:]), token.line, token.column)

    def _slots(self, name: str) -> int:
        most = 0
        tokens = self.tokens
        for i, token in enumerate(tokens):
            if token.text != name or i + 2 >= len(tokens) or tokens[i + 1].text != "[":
                continue
            inner = tokens[i + 2]
            computed = inner.kind != "number" or tokens[min(i + 3, len(tokens) - 1)].text != "]"
            n = int(inner.text) if inner.text.isdigit() and len(inner.text) < 6 else 0
            most = max(most, n + 1 if computed else n)
        return min(most, ARGUMENTS_MAX)

    def _names_before(self, i: int) -> list[str]:
        names: list[str] = []
        j = i - 1
        while j >= 0 and self.tokens[j].kind == "name":
            names.insert(0, self.tokens[j].text)
            if j < 1 or self.tokens[j - 1].text != ",":
                break
            j -= 2
        before = self.tokens[j - 1].text if j >= 1 else ""
        return [] if before in (".", "[") else names

    def _expression(self, i: int) -> tuple[Token, ...]:
        """From ``i`` to where a new statement begins, as far as tokens tell."""
        depth, start = 0, i
        tokens = self.tokens
        while i < len(tokens):
            token = tokens[i]
            if token.text in _OPEN and token.kind == "mark":
                depth += 1
            elif token.text in _CLOSE and token.kind == "mark":
                depth -= 1
                if depth < 0:
                    break
            elif depth == 0 and i > start:
                if token.kind == "name" and token.text in _BLOCK_ENDS:
                    break
                before = tokens[i - 1]
                if token.text == ";":
                    break
                starts = token.kind in ("name", "string", "number") and token.text not in (
                    "and",
                    "or",
                    "not",
                )
                ended = before.kind in ("name", "string", "number") or before.text in (
                    ")",
                    "]",
                    "}",
                )
                if starts and ended and before.text not in ("and", "or", "not"):
                    break
            i += 1
        return tokens[start:i]


_CALLS = [[module, ".", call] for module in ("redis", "server") for call in ("call", "pcall")]


def _slot(tokens: Sequence[Token], name: str) -> int | None:
    if (
        len(tokens) == 4
        and tokens[0].text == name
        and tokens[1].text == "["
        and tokens[3].text == "]"
    ):
        return int(tokens[2].text) if tokens[2].text.isdigit() and len(tokens[2].text) < 6 else None
    return None


def _until_closed(tokens: Sequence[Token], i: int) -> tuple[Token, ...]:
    depth, start = 1, i
    while i < len(tokens):
        if tokens[i].kind == "mark":
            depth += (tokens[i].text in _OPEN) - (tokens[i].text in _CLOSE)
            if depth == 0:
                break
        i += 1
    return tuple(tokens[start:i])


def _split(tokens: Sequence[Token]) -> list[tuple[Token, ...]]:
    """At the commas of the outermost level."""
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        if token.kind == "mark":
            depth += (token.text in _OPEN) - (token.text in _CLOSE)
            if token.text == "," and depth == 0:
                parts.append([])
                continue
        parts[-1].append(token)
    return [tuple(part) for part in parts] if tokens else []
