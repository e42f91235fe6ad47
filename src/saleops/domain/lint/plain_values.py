"""Plain values of any type, read without trust: what is not of the expected type is absent.

Manifests are written by hand and by templates, so that ``replicas: "3"``, ``ports: 80`` and ``labels: []`` all happen. A rule
that cannot read a value stays silent about it; that the type is wrong, the API server says itself.
"""

import re
from collections.abc import Iterator
from math import ceil
from typing import Any

from saleops.domain.lint.documents import KeyPath

_CPU = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)(m|u|n)?")
_MEMORY = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P|m)?")
_BYTES = {
    "": 1.0,
    "m": 0.001,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "P": 1e15,
    "Ki": 2.0**10,
    "Mi": 2.0**20,
    "Gi": 2.0**30,
    "Ti": 2.0**40,
    "Pi": 2.0**50,
}


def table(value: Any) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


def rows(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def tables(value: Any) -> Iterator[tuple[int, dict[Any, Any]]]:
    """The tables of a list, each with its place in the list."""
    return ((i, one) for i, one in enumerate(rows(value)) if isinstance(one, dict))


def text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def scalar(value: Any) -> str:
    """Texts, numbers and booleans as YAML would write them; "" for all else."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) else ""


def whole(value: Any, default: int | None = None) -> int | None:
    """A whole number, written as one or as a text (templates quote them); ``default`` for anything else."""
    if isinstance(value, bool):
        return default
    if isinstance(value, int):
        return value if abs(value) < 10**15 else default
    if isinstance(value, str) and re.fullmatch(r"\s*-?[0-9]{1,15}\s*", value, re.ASCII):
        return int(value)
    return default


def seconds(value: Any, default: int) -> int:
    """As ``whole``, for fields whose default is known; what is below 1 counts as the default, as the API server "
    "would refuse it."""
    found = whole(value)
    return default if found is None or found < 1 else found


def share_of(value: Any, whole_count: int, *, round_up: bool) -> int | None:
    """An IntOrString: ``3``, or ``"25%"`` of ``whole_count``, rounded as Kubernetes does for this field."""
    if isinstance(value, str) and (
        found := re.fullmatch(r"([0-9]{1,4})%", value.strip(), re.ASCII)
    ):
        exact = int(found[1]) * whole_count
        return ceil(exact / 100) if round_up else exact // 100
    return whole(value)


def cpu_m(value: Any) -> int | None:
    """Millicores of a CPU quantity: 1, "0.5", "500m"; None where it is none."""
    found = None if isinstance(value, bool) else _CPU.fullmatch(scalar(value))
    if found is None:
        return None
    scale = {None: 1000.0, "m": 1.0, "u": 1e-3, "n": 1e-6}[found[2]]
    return ceil(round(float(found[1]) * scale, 6))


def memory_mib(value: Any) -> int | None:
    """MiB, rounded up, of a memory quantity: "512Mi", "1G", 1073741824; None where it is none."""
    found = None if isinstance(value, bool) else _MEMORY.fullmatch(scalar(value))
    return ceil(float(found[1]) * _BYTES[found[2] or ""] / 2**20) if found else None


def walk(value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Every value below ``value`` with its path. Not recursive: depth is the file's, not ours."""
    waiting: list[tuple[KeyPath, Any]] = [(path, value)]
    while waiting:
        here, one = waiting.pop()
        yield here, one
        if isinstance(one, dict):
            waiting += [((*here, k if isinstance(k, int) else str(k)), v) for k, v in one.items()]
        elif isinstance(one, list):
            waiting += [((*here, i), v) for i, v in enumerate(one)]
