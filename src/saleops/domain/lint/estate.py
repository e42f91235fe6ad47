"""How the objects of a fleet belong together: which pods a Service reaches, who scales them, how many there are at the sale.

Worked out once a fleet (``estate_of``) and shared by the rules.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from saleops.domain.lint.documents import KeyPath, LintDocument
from saleops.domain.lint.fleet import Fleet, labels_of, selects
from saleops.domain.lint.plain_values import scalar, table, tables, text, whole
from saleops.domain.lint.releases import Identity, identity, releases_of

LONG_RUNNING = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "CloneSet", "Rollout")
_TEMPLATES: Mapping[str, KeyPath] = {
    **dict.fromkeys((*LONG_RUNNING, "ReplicationController", "Job"), ("spec", "template")),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
    "Pod": (),
}


@dataclass(frozen=True, eq=False)
class Pods:
    """The pods of one workload. ``path`` leads to their template, ``spec`` and ``labels`` are the template's."""

    document: LintDocument
    path: KeyPath
    spec: Mapping[Any, Any]
    labels: Mapping[str, str]

    @property
    def name(self) -> str:
        return self.document.name

    @property
    def namespace(self) -> str:
        return self.document.namespace

    @property
    def kind(self) -> str:
        return self.document.kind

    @property
    def long_running(self) -> bool:
        return self.kind in LONG_RUNNING

    @property
    def spec_path(self) -> KeyPath:
        return (*self.path, "spec")

    @property
    def template(self) -> dict[Any, Any]:
        return table(self.document.at(*self.path))

    @property
    def partial(self) -> bool:
        """Whether this is a patch: what is missing here is written in what it patches."""
        return not any(text(one.get("image")) for _, one in self.containers())

    def containers(self) -> Iterator[tuple[KeyPath, dict[Any, Any]]]:
        """Containers that live as long as the pod: sidecars among the init containers too."""
        for i, one in tables(self.spec.get("containers")):
            yield (*self.spec_path, "containers", i), one
        for i, one in tables(self.spec.get("initContainers")):
            if one.get("restartPolicy") == "Always":
                yield (*self.spec_path, "initContainers", i), one


@dataclass(frozen=True)
class PodCount:
    """How many pods there are at the sale, and the place that says so."""

    count: int
    document: LintDocument
    path: KeyPath
    why: str


class Estate:
    """See the module. Objects meet as ``releases_of`` says; one that is written down twice counts once."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self._meet = releases_of(fleet).meet
        self.pods = tuple(_pods(fleet))
        self._in_namespace: dict[str, list[Pods]] = defaultdict(list)
        for one in self.pods:
            self._in_namespace[one.namespace].append(one)
        self.services = tuple(fleet.of_kind("Service"))
        self._service: dict[tuple[str, str], list[LintDocument]] = defaultdict(list)
        for service in self.services:
            self._service[service.namespace, service.name].append(service)
        self._behind: dict[int, list[Pods]] = {}
        self._services_of: dict[int, list[LintDocument]] = defaultdict(list)
        for service in self.services:
            selector = table(service.at("spec", "selector"))
            reached = (
                self.selected(service, {"matchLabels": selector})
                if selector and service.at("spec", "type") != "ExternalName"
                else []
            )
            self._behind[id(service)] = reached
            for one in reached:
                self._services_of[id(one)].append(service)
        self._hpas: dict[tuple[str, str, str], list[LintDocument]] = defaultdict(list)
        for hpa in fleet.of_kind("HorizontalPodAutoscaler"):
            self._hpas[_target(hpa)].append(hpa)
        self._crons: dict[tuple[str, str, str], list[LintDocument]] = defaultdict(list)
        for cron in fleet.of_kind("CronHorizontalPodAutoscaler"):
            self._crons[_target(cron)].append(cron)
        self.budgets = tuple(fleet.of_kind("PodDisruptionBudget"))
        self._budgets_of: dict[int, list[LintDocument]] = defaultdict(list)
        for budget in self.budgets:
            for one in self.selected(budget, budget.at("spec", "selector")):
                if identity(budget) not in map(identity, self._budgets_of[id(one)]):
                    self._budgets_of[id(one)].append(budget)

    def in_namespace(self, namespace: str) -> list[Pods]:
        """Everybody who may be in ``namespace``, of any release."""
        return self._in_namespace.get(namespace, [])

    @property
    def distinct(self) -> list[Pods]:
        """The workloads, each once however often it is written down."""
        return _once(self.pods)

    def beside(self, document: LintDocument) -> list[Pods]:
        """The workloads that are applied together with ``document``, each once."""
        return _once(
            one
            for one in self.in_namespace(document.namespace)
            if self._meet(document, one.document)
        )

    def selected(self, by: LintDocument, selector: Any) -> list[Pods]:
        """The pods that ``selector``, which ``by`` holds, means, each workload once."""
        return _once(
            one
            for one in self.in_namespace(by.namespace)
            if selects(selector, one.labels) and self._meet(by, one.document)
        )

    def may_select(self, namespace: str, selector: Any) -> bool:
        """Whether there are such pods in any release: who says that there are none has to be sure."""
        return any(selects(selector, one.labels) for one in self.in_namespace(namespace))

    def may_have_budget(self, pods: Pods) -> bool:
        """Whether a budget of any release is meant for ``pods``."""
        return any(
            one.namespace == pods.namespace and selects(one.at("spec", "selector"), pods.labels)
            for one in self.budgets
        )

    def service(self, by: LintDocument, name: str) -> LintDocument | None:
        """The Service that ``by`` means by ``name``."""
        named = self._service.get((by.namespace, name), ())
        return next((one for one in named if self._meet(by, one)), None)

    def behind(self, service: LintDocument | None) -> list[Pods]:
        """The pods that ``service`` reaches."""
        return self._behind.get(id(service), [])

    def services_of(self, pods: Pods) -> list[LintDocument]:
        return self._services_of.get(id(pods), [])

    def budgets_of(self, pods: Pods) -> list[LintDocument]:
        return self._budgets_of.get(id(pods), [])

    def hpas_of(self, pods: Pods) -> list[LintDocument]:
        found = self._hpas.get((pods.namespace, pods.kind, pods.name), ())
        return [one for one in found if self._meet(one, pods.document)]

    def sale_name(self, pods: Pods) -> str:
        """What the sale calls this workload: ``order`` for a Deployment ``order`` or ``order-service``; "" if it does not."""
        sale = self.fleet.sale
        if sale is None:
            return ""
        for name in (
            pods.name,
            pods.labels.get("app.kubernetes.io/name", ""),
            pods.labels.get("app", ""),
        ):
            for one in (name, name.removesuffix("-service")):
                if one and (one in sale.pods or one in sale.rps_per_pod):
                    return one
        return ""

    def count(self, pods: Pods, *, with_sale: bool = True) -> PodCount:
        """The most pods that anything here asks for: replicas, the HPA's maximum, a CronHPA's target, the sale's own figure."""
        document = pods.document
        replicas = whole(document.at("spec", "replicas"), 1) or 0
        said = PodCount(
            replicas if pods.kind not in ("DaemonSet", "Pod") else 1,
            document,
            ("spec", "replicas"),
            f"{pods.kind} {pods.name} has replicas: {replicas}",
        )
        asked = [said]
        crons = list(self._crons.get((pods.namespace, pods.kind, pods.name), ()))
        for hpa in self.hpas_of(pods):
            crons += self._crons.get((hpa.namespace, "HorizontalPodAutoscaler", hpa.name), ())
            if most := whole(hpa.at("spec", "maxReplicas")):
                why = f"HorizontalPodAutoscaler {hpa.name} goes up to maxReplicas: {most}"
                asked.append(PodCount(most, hpa, ("spec", "maxReplicas"), why))
        for cron in (one for one in crons if self._meet(one, document)):
            for i, job in tables(cron.at("spec", "jobs")):
                if target := whole(job.get("targetSize")):
                    why = f"CronHPA job {scalar(job.get('name')) or i} sets targetSize: {target}"
                    asked.append(PodCount(target, cron, ("spec", "jobs", i, "targetSize"), why))
        sale, name = self.fleet.sale, self.sale_name(pods)
        if with_sale and sale is not None and name in sale.pods:
            why = f"{sale.name} needs {sale.pods[name]} pods of {name} at its peak"
            asked.append(PodCount(int(sale.pods[name]), document, ("spec", "replicas"), why))
        return max(asked, key=lambda one: one.count)  # of equals the first: the workload's own

    def serving(self, pods: Pods) -> tuple[KeyPath, dict[Any, Any]] | None:
        """The container that answers the workload's Service: the one with its target port, else the first."""
        containers = list(pods.containers())
        wanted = {
            scalar(port.get("targetPort", port.get("port")))
            for service in self.services_of(pods)
            for _, port in tables(service.at("spec", "ports"))
        } - {""}
        for path, container in containers:
            for _, port in tables(container.get("ports")):
                if {scalar(port.get("containerPort")), scalar(port.get("name"))} & wanted:
                    return path, container
        return containers[0] if containers else None


def estate_of(fleet: Fleet) -> Estate:
    found = fleet.worked_out.get("estate")
    if found is None:
        found = fleet.worked_out["estate"] = Estate(fleet)
    return cast(Estate, found)


def _once(found: Iterable[Pods]) -> list[Pods]:
    """Of workloads that are written down twice the first that is no patch."""
    kept: dict[tuple[Identity, int], Pods] = {}
    for one in found:
        # What has no name yet (generateName, a patch) is nobody else.
        key = (identity(one.document), 0 if one.name else id(one))
        if key not in kept or (kept[key].partial and not one.partial):
            kept[key] = one
    return list(kept.values())


def _pods(fleet: Fleet) -> Iterator[Pods]:
    for document in fleet.documents:
        path = _TEMPLATES.get(document.kind)
        if path is None:
            continue
        template = table(document.at(*path))
        yield Pods(document, path, table(template.get("spec")), labels_of(template))


def _target(scaler: LintDocument) -> tuple[str, str, str]:
    target = table(scaler.at("spec", "scaleTargetRef"))
    return scaler.namespace, text(target.get("kind")), text(target.get("name"))
