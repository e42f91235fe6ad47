"""What a drain must not forget, in an annotation of its node: the handler may be killed at any moment and goes on from there.

Written before the act it speaks of. Whatever cannot be read counts as no record: the drain begins again, and cordoning,
raising to an absolute number and evicting what is still there are all harmless twice.
"""

from typing import Any

import msgspec

RECORD = "saleops.io/spot-drain"
TAINT = "saleops.io/spot-termination"
LABEL = "saleops.io/spot-termination"
NO_BALANCERS = "node.kubernetes.io/exclude-from-external-load-balancers"


class Raised(msgspec.Struct, frozen=True, omit_defaults=True):
    """A workload that was told to run more pods. ``by`` is what has still to be taken back, ``to`` the number it was set to.

    ``sure`` is False from the intent to the answer: after a crash in between nobody knows whether it was raised, so it is raised
    if it is below ``to`` and never lowered: a pod too many costs money, one too few costs orders.
    """

    by: int
    to: int
    sure: bool = False
    hpa: str = ""  # its autoscaler, whose floor was raised; that one keeps its own record


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """Times are seconds since the epoch by the cloud's clock."""

    termination_s: float
    seen_s: float
    notice: str = ""  # the service's own text: another text is another notice
    was_cordoned: bool = False  # somebody else had cordoned the node: it stays so
    had_label: bool = False  # it was kept from load balancers before
    surged: dict[str, Raised] = {}  # "shop/order" -> what was done
    surge_planned: bool = False
    switched: bool = False  # a pod was deleted without asking budgets: too late for a withdrawal
    finished: bool = False  # every pod is gone and the surge is taken back

    def encoded(self) -> str:
        return msgspec.json.encode(self).decode()


def read_record(annotations: Any) -> Record | None:
    text = annotations.get(RECORD) if hasattr(annotations, "get") else None
    if not isinstance(text, str):
        return None
    try:
        return msgspec.json.decode(text, type=Record)
    except (msgspec.ValidationError, msgspec.DecodeError):
        return None
