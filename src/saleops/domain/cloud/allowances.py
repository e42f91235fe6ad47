"""Who may call a database or a cache: one list of our own, beside those of others.

Services overwrite a list unless they are told to append, so every change here names its list and says Append or Delete.
A list of any name that lets in the whole world is drift, and is closed. What our list lets in are the blocks that the sale's
vSwitches have, not those that its files would give them: whoever changes the files does not move the nodes that are there.
"""

import re
from collections.abc import Generator, Sequence
from typing import Any

from saleops.domain.cloud.calls import Answer, Call
from saleops.domain.cloud.network import VPC, vswitch_name
from saleops.domain.cloud.ours import Scope, tags_of, text
from saleops.domain.cloud.paging import every_page
from saleops.domain.cloud.resources import SALE_TAG, Known

WORLD = "0.0.0.0/0"


def list_name(sale: str) -> str:
    """Our list's name: lower-case letters and digits, a letter first, which is all that both services take."""
    return f"saleops{re.sub('[^a-z0-9]', '', sale)}"


def addresses_in(written: Any) -> list[str]:
    """The addresses of a list as a service writes it, each as it was sent: a lone address may come back as /32."""
    parts = (part.strip() for part in str(written or "").split(","))
    return sorted({part.removesuffix("/32") for part in parts if part})


class Callers:
    """Who is to be let in: what is in ``vswitches``, which are keys, and the blocks ``beside`` them."""

    def __init__(self, scope: Scope, vswitches: Sequence[str], beside: Sequence[str] = ()) -> None:
        self.scope = scope
        self.vswitches = tuple(vswitches)
        self.beside = tuple(one.removesuffix("/32") for one in beside)

    @property
    def needs(self) -> tuple[str, ...]:
        return (VPC, *self.vswitches)

    def wanted(self, known: Known) -> list[str]:
        """In the order of their names, so that a dry run shows them as they are sent."""
        blocks = [known(one, "cidr") for one in self.vswitches]
        return list(dict.fromkeys((*blocks, *self.beside)))

    def standing(self, known: Known) -> Generator[Call, Answer, frozenset[str]]:
        """Blocks of the sale's other vSwitches: of a zone that its files do not name any more. Nodes may be in them, so they
        are never shut out while they stand."""
        rows = yield from every_page(
            Call(
                "vpc",
                "DescribeVSwitches",
                {"RegionId": self.scope.region, "VpcId": known(VPC)},
            ),
            "VSwitches.VSwitch",
        )
        ours = sorted(
            (row for row in rows if tags_of(row).get(SALE_TAG) == self.scope.sale),
            key=lambda row: text(row.get("VSwitchId")),
        )
        names = {self.scope.named(vswitch_name(key)) for key in self.vswitches}
        planned: dict[str, str] = {}
        for row in ours:
            name = text(row.get("VSwitchName"))
            if name in names:
                planned.setdefault(name, text(row.get("CidrBlock")))
        return frozenset(text(row.get("CidrBlock")) for row in ours) - set(planned.values())


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

    missing = [one for one in wanted if one not in observed]
    extra = sorted(set(observed) - set(wanted) - {WORLD})
    calls = [call("Append", ours, missing)] if missing else []
    if extra:
        calls.append(call("Delete", ours, extra))
    return calls + [call("Delete", name, [WORLD]) for name in open_lists]
