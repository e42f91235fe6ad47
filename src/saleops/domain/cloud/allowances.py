"""Who may call a database or a cache: one list of our own, beside those of others.

Services overwrite a list unless they are told to append, so every change here names its list and says Append or Delete.
A list of any name that lets in the whole world is drift, and is closed.
"""

import re
from collections.abc import Sequence
from typing import Any

from saleops.domain.cloud.calls import Call

WORLD = "0.0.0.0/0"


def list_name(sale: str) -> str:
    """Our list's name: lower-case letters and digits, a letter first, which is all that both services take."""
    return f"saleops{re.sub('[^a-z0-9]', '', sale)}"


def addresses_in(written: Any) -> list[str]:
    """The addresses of a list as a service writes it, each as it was sent: a lone address may come back as /32."""
    parts = (part.strip() for part in str(written or "").split(","))
    return sorted({part.removesuffix("/32") for part in parts if part})


def repairs(
    base: Call,
    *,
    name_field: str,
    ours: str,
    wanted: Sequence[str],
    observed: Sequence[str],
    open_lists: Sequence[str],
) -> list[Call]:
    """The calls that make our list ``wanted`` and close the ``open_lists``. What is missing is let in before anything is
    shut out."""

    def call(mode: str, name: str, addresses: Sequence[str]) -> Call:
        return Call(
            base.product,
            base.api,
            {
                **base.params,
                name_field: name,
                "SecurityIps": ",".join(addresses),
                "ModifyMode": mode,
            },
        )

    missing = sorted(set(wanted) - set(observed))
    extra = sorted(set(observed) - set(wanted) - {WORLD})
    calls = [call("Append", ours, missing)] if missing else []
    if extra:
        calls.append(call("Delete", ours, extra))
    return calls + [call("Delete", name, [WORLD]) for name in open_lists]
