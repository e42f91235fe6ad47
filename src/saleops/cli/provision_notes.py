"""What a blueprint says about itself (what was left out, what was assumed), for the groups that a command is about; and the
lines of a profile that would change it, ready to be pasted."""

from collections.abc import Sequence
from pathlib import Path

GROUP_OF = {
    "edge": "edge",
    "node pools": "nodepool",
    "instance types": "nodepool",
    "spot prices": "nodepool",
    "spot": "nodepool",
    "limits.database_connections": "database",
}
"""A note's first words -> the group it is about; what is not here is about sizes, which are those of the node pools."""

_LINES = {
    "edge": (
        "edge:",
        "  domain: shop.example.com",
        "  origin: alb-shop.example.com  # the load balancer's DNS name",
    ),
    "nodepool": ("cluster:", "  key_pair: my-key-pair"),
}


def notes_about(groups: Sequence[str], notes: Sequence[str]) -> tuple[str, ...]:
    """Those of ``notes`` that are about one of ``groups``."""
    return tuple(one for one in notes if GROUP_OF.get(one.partition(":")[0], "nodepool") in groups)


def why_nothing(group: str, notes: Sequence[str], profile: Path) -> str:
    """Why ``group`` has nothing to make, and the file that changes it; ``profile`` is where it is looked for."""
    reason = "; ".join(one.partition(": ")[2] for one in notes_about((group,), notes))
    lines = _LINES.get(group)
    if lines is None:
        return reason or "The profile says what is built."
    there = profile.exists()
    where = f"Add to {profile}" if there else f"Write {profile}"
    text = "\n".join(("", *(() if there else ("apiVersion: saleops/profile/v1",)), *lines))
    begun = f"{reason[:1].upper()}{reason[1:]}. " if reason else ""
    return f"{begun}{where}, with your own names:{text}\n`saleops help profile` has more."
