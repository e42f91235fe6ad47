"""A Lua 5.1 script as tokens with lines and columns, comments left out. Text that is no Lua gives tokens too, never an error."""

import re
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""(?P<comment>--\[(?P<level>=*)\[.*?(?:\](?P=level)\]|\Z)|--[^\n]*)
    |(?P<long>\[(?P<depth>=*)\[.*?(?:\](?P=depth)\]|\Z))
    |(?P<string>"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?)
    |(?P<number>0[xX][0-9a-fA-F]+|[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?|\.[0-9]+(?:[eE][+-]?[0-9]+)?)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<space>\s+)
    |(?P<mark>\.\.\.|\.\.|==|~=|<=|>=|.)""",
    re.X | re.S,
)
_LONG = re.compile(r"\[(=*)\[\n?(.*?)(?:\]\1\]|\Z)", re.S)


@dataclass(frozen=True, slots=True)
class Token:
    """``kind`` is name, string, number or mark; ``text`` of a string is without its quotes."""

    kind: str
    text: str
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class LuaText:
    tokens: tuple[Token, ...]
    comments: str


def read_lua(script: str) -> LuaText:
    tokens, comments = [], []
    line, begin = 1, 0  # of the line, the index its first column has
    for found in _TOKEN.finditer(script):
        kind, text = found.lastgroup or "mark", found[0]
        if found["comment"] is not None:
            comments.append(text)
        elif found["long"] is not None:
            inner = _LONG.fullmatch(text)
            tokens.append(
                Token("string", inner[2] if inner else text, line, found.start() - begin + 1)
            )
        elif found["string"] is not None:
            closed = len(text) > 1 and text[-1] == text[0]
            tokens.append(
                Token("string", text[1:-1] if closed else text[1:], line, found.start() - begin + 1)
            )
        elif found["space"] is None:
            kind = "name" if found["name"] else "number" if found["number"] else "mark"
            tokens.append(Token(kind, text, line, found.start() - begin + 1))
        breaks = text.count("\n")
        if breaks:
            line += breaks
            begin = found.start() + text.rfind("\n") + 1
    return LuaText(tuple(tokens), "\n".join(comments))
