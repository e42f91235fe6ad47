"""What things were before a sale made them bigger: kept on the things themselves, and in a journal.

An annotation on each workload and autoscaler holds its original sizes and the floor that was set; a namespace holds those of the
cloud's things, so that another machine can take back what this one did. An original is written once, before the first
change, and stays until it is restored: a second run finds sizes that are its own doing and must not take them for originals.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

RECORD = "saleops.io/scale"
CLOUD_RECORD = "saleops.io/scale-cloud"
SPOT_FLOOR = "saleops.io/spot-floor"

Sizes = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Record:
    """``original`` and ``floor`` are sizes by field: "replicas", "min", "max", "desired_size", "nodes", "shards" ..."""

    sale: str
    original: Sizes
    floor: Sizes
    at: str = ""

    def with_floor(self, floor: Sizes) -> "Record":
        """The same original under a new floor."""
        return Record(self.sale, self.original, dict(floor), self.at)

    @property
    def text(self) -> str:
        return json.dumps(self.document, separators=(",", ":"), sort_keys=True)

    @property
    def document(self) -> dict[str, Any]:
        return {
            "sale": self.sale,
            "original": dict(self.original),
            "floor": dict(self.floor),
            "at": self.at,
        }


def record_of(document: object) -> Record | None:
    """What a document says; None where it is none of ours or somebody spoiled it."""
    if not isinstance(document, Mapping):
        return None
    original, floor = _sizes(document.get("original")), _sizes(document.get("floor"))
    sale = document.get("sale")
    if original is None or floor is None or not isinstance(sale, str):
        return None
    return Record(sale, original, floor, str(document.get("at") or ""))


def record_in(annotations: Mapping[str, str]) -> Record | None:
    return record_of(_loaded(annotations.get(RECORD, "")))


def cloud_records_in(annotations: Mapping[str, str]) -> dict[str, Record]:
    """By key of the cloud's thing."""
    found = _loaded(annotations.get(CLOUD_RECORD, ""))
    if not isinstance(found, Mapping):
        return {}
    records = {str(key): record_of(one) for key, one in found.items()}
    return {key: one for key, one in records.items() if one is not None}


def cloud_records_text(records: Mapping[str, Record]) -> str:
    documents = {key: one.document for key, one in records.items()}
    return json.dumps(documents, separators=(",", ":"), sort_keys=True)


def spot_original(annotations: Mapping[str, str]) -> dict[str, int]:
    """The bounds an autoscaler had before the spot handler raised them for a drain, and the pods wanted then ("base"), each
    with what it was raised to ("set_min", "set_max"); empty where no drain holds it."""
    found = _loaded(annotations.get(SPOT_FLOOR, ""))
    if not isinstance(found, Mapping):
        return {}
    sizes = _sizes({name: found.get(name) for name in ("min", "max", "set_min", "set_max", "base")})
    return sizes or {}


def without_user(cluster: str) -> str:
    """A cluster's name without the user and password that its server's URL may hold."""
    return re.sub(r"(?<=//)[^/\s]*@", "", cluster)


def records_of(lines: Iterable[Mapping[str, Any]]) -> dict[str, Record]:
    """What the lines of a journal come to: by key, whatever was recorded and not restored."""
    records: dict[str, Record] = {}
    for line in lines:
        key = str(line.get("key", ""))
        if line.get("type") == "recorded":
            one = record_of(line.get("record"))
            if one is not None and key not in records:
                records[key] = one
            elif one is not None:
                records[key] = records[key].with_floor(one.floor)
        elif line.get("type") == "restored":
            records.pop(key, None)
    return records


def _loaded(text: str) -> object:
    try:
        return json.loads(text) if text else None
    except ValueError:
        return None


def _sizes(found: object) -> dict[str, int] | None:
    if not isinstance(found, Mapping):
        return None
    if not all(isinstance(one, int) and not isinstance(one, bool) for one in found.values()):
        return None
    return {str(key): int(one) for key, one in found.items()}
