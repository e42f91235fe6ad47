"""Request bodies of ACK among the documents of a run, and what its API would say to them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from saleops.cloudapi.checks import Problem, problems
from saleops.cloudapi.tables_reader import api_of
from saleops.domain.lint.documents import KeyPath, LintDocument
from saleops.domain.lint.fleet import Fleet

_CLUSTER = {"cluster_type", "cluster_spec", "container_cidr", "service_cidr", "num_of_nodes"}
_POOL = {"nodepool_info", "scaling_group"}
_PART = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class Body:
    """A body of CreateCluster or CreateClusterNodePool. ``at`` is where it stands in the document."""

    document: LintDocument
    api: str
    value: Mapping[str, Any]
    at: KeyPath = ()

    def path(self, where: str) -> KeyPath:
        """Of a Problem's place, ``scaling_group.spot_price_limit[0]``, in the document."""
        parts = [int(n) if n else name for name, n in _PART.findall(where)]
        return (*self.at, *parts)

    def problems(self) -> list[Problem]:
        path = {} if self.api == "CreateCluster" else {"ClusterId": "c"}
        return problems(api_of("cs", self.api), body=self.value, path=path)


def bodies(fleet: Fleet) -> Iterator[Body]:
    """What in ``fleet`` is meant for ACK, told by its fields: by itself, below ``body`` as a call's, or in a list of those."""
    for document in fleet.of_format("json", "yaml"):
        for at in _places(document.value):
            value = document.at(*at)
            if api := _api(value):
                yield Body(document, api, value, at)


def _places(value: Any) -> Iterator[KeyPath]:
    yield from ((), ("body",))
    if isinstance(value, list):
        for number in range(len(value)):
            yield from ((number,), (number, "body"))


def _api(value: Any) -> str:
    if not isinstance(value, dict) or any(not isinstance(key, str) for key in value):
        return ""
    if "cluster_type" in value or len(_CLUSTER & value.keys()) > 1:
        return "CreateCluster"
    group = value.get("scaling_group")
    of_pool = isinstance(group, dict) and "instance_types" in group
    return "CreateClusterNodePool" if of_pool or value.keys() >= _POOL else ""
