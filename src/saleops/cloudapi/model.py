"""What an API table holds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

FieldType = Literal["string", "integer", "number", "boolean", "array", "object", "json", "any"]
"""``json`` is a string that holds a JSON document; ``any`` is an object whose keys are free."""


@dataclass(frozen=True, slots=True)
class Field:
    """One parameter, or one field of a body.

    ``items`` describes the entries of an array, ``fields`` those of an object; a ``json`` field has either where its
    document has a known shape. ``low`` and ``high`` bound a number's value, an array's count of entries and a string's length.
    """

    type: FieldType
    required: bool = False
    items: "Field | None" = None
    fields: Mapping[str, "Field"] = field(default_factory=dict)
    values: tuple[str, ...] = ()  # the only ones the service takes; empty: any
    low: float | None = None
    high: float | None = None
    deprecated: bool = False
    joined: bool = False  # an array that travels as one comma-joined string


@dataclass(frozen=True, slots=True)
class Product:
    """``code`` is our spelling ("r-kvstore"); ``endpoint`` may hold {region}; global products have none.

    ``elsewhere`` names the regions with another endpoint, ``aliases`` the other codes (lower case) of the product.
    """

    code: str
    version: str
    style: Literal["RPC", "ROA"]
    endpoint: str
    aliases: tuple[str, ...] = ()
    elsewhere: Mapping[str, str] = field(default_factory=dict, hash=False)

    def host(self, region: str) -> str:
        """The public endpoint for ``region``, without a scheme."""
        return self.elsewhere.get(region) or self.endpoint.replace("{region}", region)


@dataclass(frozen=True, slots=True)
class Api:
    """One API. ``params`` are the RPC parameters or the query of a ROA call, ``body`` the JSON document of a ROA call.

    ``token`` is where the idempotency token goes: "ClientToken" (a parameter), "body.client_token", or "".
    """

    product: Product
    name: str
    method: str  # of RPC: POST, or GET where an API takes nothing else
    path: str  # "" for RPC, else "/clusters/[ClusterId]/nodepools"
    params: Mapping[str, Field]
    body: Field | None = None
    token: str = ""
    reads: bool = False
    form: bool = False  # RPC parameters travel in a form body (quotas)

    def __str__(self) -> str:
        return f"{self.product.code} {self.name}"
