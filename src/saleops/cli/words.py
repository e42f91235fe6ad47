"""Text made fit to be shown: no cursor movement out of data, no passwords."""

import re

_PASSWORD = re.compile(r"(?<=://)([^\s:/@]*):([^\s/]+)@")


def harmless(value: object, *, keep: str = "") -> str:
    """``value`` as text whose control characters are spelled out: a SKU must not move anybody's cursor.

    Characters in ``keep``, e.g. a line break, stay as they are. None is empty.
    """
    text = "" if value is None else str(value)
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in keep else ascii(one)[1:-1] for one in text)


def masked(text: str) -> str:
    """``text`` with the passwords of its URLs replaced by ``***``."""
    return _PASSWORD.sub(r"\1:***@", text)


def sentence(text: str) -> str:
    """``text`` for a message: masked, harmless, its line breaks kept."""
    return harmless(masked(text), keep="\n")
