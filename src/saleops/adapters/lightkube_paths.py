"""Where objects live in the API's URLs: the kinds we always use, and any other as discovery tells."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from saleops.adapters.lightkube_client import KubeClient
from saleops.errors import ClusterError

PAGE = 500


@dataclass(frozen=True, slots=True)
class Place:
    api_version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def root(self) -> str:
        return (
            f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"
        )

    def path(self, namespace: str | None, name: str = "", subresource: str = "") -> str:
        """No ``namespace``: all of them, for lists."""
        parts = [self.root]
        if self.namespaced and namespace:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        parts += [quote(one, safe="") for one in (name, subresource) if one]
        return "/".join(parts)

    def listed(
        self, client: KubeClient, namespace: str | None, labels: str = "", fields: str = ""
    ) -> tuple[list[Mapping[str, Any]], str]:
        """Every object, page by page, and the revision of the list. A list that grew too old on the way is begun anew, once."""
        doing = f"listing {self.plural}"
        for second in (False, True):
            try:
                return self._pages(client, doing, namespace, labels, fields)
            except ClusterError as error:
                if error.status != 410 or second:
                    raise
        raise AssertionError("the second time returns or raises")

    def _pages(
        self, client: KubeClient, doing: str, namespace: str | None, labels: str, fields: str
    ) -> tuple[list[Mapping[str, Any]], str]:
        found: list[Mapping[str, Any]] = []
        params: dict[str, Any] = {"limit": PAGE, "labelSelector": labels, "fieldSelector": fields}
        while True:
            page = client.read(doing, self.path(namespace), params)
            found += [
                {"apiVersion": self.api_version, "kind": self.kind, **one}
                for one in page.get("items") or []
                if isinstance(one, dict)
            ]
            metadata = page.get("metadata") or {}
            params["continue"] = metadata.get("continue")
            if not params["continue"]:
                return found, str(metadata.get("resourceVersion") or "")


NODES = Place("v1", "nodes", "Node", False)
PODS = Place("v1", "pods", "Pod")
EVENTS = Place("v1", "events", "Event")
DEPLOYMENTS = Place("apps/v1", "deployments", "Deployment")
STATEFUL_SETS = Place("apps/v1", "statefulsets", "StatefulSet")
HPAS = Place("autoscaling/v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
BUDGETS = Place("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget")
CRON_HPAS = Place(
    "autoscaling.alibabacloud.com/v1beta1",
    "cronhorizontalpodautoscalers",
    "CronHorizontalPodAutoscaler",
)
_KNOWN = (NODES, PODS, EVENTS, DEPLOYMENTS, STATEFUL_SETS, HPAS, BUDGETS)


class Paths:
    """Kinds by their name; those that we do not know are asked for once."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self._known = {(one.api_version, one.kind): one for one in _KNOWN}

    def place_of(self, api_version: str, kind: str) -> Place:
        """Raises ClusterError "missing" where the cluster does not know the kind."""
        found = self.find(api_version, kind)
        if found is None:
            raise ClusterError(
                f"the cluster does not know the kind {kind} of {api_version}",
                kind="missing",
                status=404,
                hint="Is the controller that brings it installed?",
            )
        return found

    def find(self, api_version: str, kind: str) -> Place | None:
        found = self._known.get((api_version, kind))
        if found is None:
            found = self._discovered(api_version, kind)
            if found is not None:
                self._known[api_version, kind] = found
        return found

    def _discovered(self, api_version: str, kind: str) -> Place | None:
        root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        try:
            listed = self._client.read(f"asking for the kinds of {api_version}", root)
        except ClusterError as error:
            if error.kind == "missing":
                return None
            raise
        for one in listed.get("resources") or []:
            if (
                isinstance(one, dict)
                and one.get("kind") == kind
                and "/" not in str(one.get("name"))
            ):
                return Place(
                    api_version, str(one["name"]), kind, one.get("namespaced") is not False
                )
        return None
