"""One call of an Alibaba Cloud API, as a value: what a dry run prints is what a run sends."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Answer = Mapping[str, Any]
"""The JSON document of an answer, as the API spells it."""


@dataclass(frozen=True, slots=True)
class Call:
    """``product`` and ``api`` as the API tables spell them ("vpc", "CreateVpc").

    ``params`` is the RPC parameters, or the query of a ROA call: Python values, lists and objects not flattened
    (``{"Tag": [{"Key": "a", "Value": "b"}]}``); None values are left out when it is sent. ``path`` fills the ``[Name]``
    slots of a ROA path, ``body`` is its JSON document. The idempotency token is no part of it: whoever sends adds it.
    """

    product: str
    api: str
    params: Mapping[str, Any] = field(default_factory=dict)
    path: Mapping[str, str] = field(default_factory=dict)
    body: Any = None

    def __str__(self) -> str:
        return f"{self.product} {self.api}"
