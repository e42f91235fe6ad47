"""How long a pod takes to serve, and how long it goes on serving when it is deleted: read from manifests, else assumed.

Between "10 pods more" and ten pods' worth of answers lie the scheduler, the image, the start of the process, the readiness
probe, the load balancer that has to hear of the pod and check it, and its slow start. On the way out the load balancer goes on
sending for some seconds; a preStop of at least that long serves those requests, none at all fails them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from saleops.domain.lint.documents import LintDocument
from saleops.domain.lint.fleet import Fleet, labels_of, pod_template, selects

SCHEDULE_S = 1
PULL_S = 20
"""An image of a few hundred MB over a node's network; 0 where a job pulls it beforehand. Our assumption."""
START_S = 10
"""From the start of the container to the first good answer of its probe. Our assumption; measure yours."""
CLUSTER_LAG_S = 2
"""Until every node's proxy knows of an endpoint. Our assumption."""
ALB_LAG_S = 10
"""Until a change of endpoints is in the load balancer: the ALB Ingress documentation, read 2026-11."""
ALB_CHECKS, ALB_INTERVAL_S = 3, 2
"""healthy-threshold-count and healthcheck-interval-seconds of an ALB Ingress without annotations."""
GRACE_S = 30
"""terminationGracePeriodSeconds of Kubernetes."""
NODE_BOOT_S = 120
"""A batch of 100 standard nodes of cluster-autoscaler on ACK: Alibaba Cloud's published timing, read 2026-11."""

_ALB = "alb.ingress.kubernetes.io/"


@dataclass(frozen=True, slots=True)
class PodTimes:
    """Seconds. ``lag_s`` is how long traffic still comes to a deleted pod, ``busy_s`` how long its node is not free."""

    schedule_s: int = SCHEDULE_S
    pull_s: int = PULL_S
    start_s: int = START_S
    ready_s: int = 0
    register_s: int = ALB_LAG_S + ALB_CHECKS * ALB_INTERVAL_S
    slow_start_s: int = 0
    lag_s: int = ALB_LAG_S
    pre_stop_s: int = 0
    grace_s: int = GRACE_S
    assumed: tuple[str, ...] = ("image pull", "start", "load balancer", "preStop")

    @property
    def until_serving_s(self) -> int:
        """From being placed on a node to the first request."""
        return self.schedule_s + self.pull_s + self.start_s + self.ready_s + self.register_s

    @property
    def serves_on_s(self) -> int:
        """After a delete: as long as traffic comes and preStop holds the process back."""
        return min(self.lag_s, self.pre_stop_s, self.grace_s)

    @property
    def busy_s(self) -> int:
        """After a delete: until the node has its room back. What is in flight is taken to end within 5 s of SIGTERM."""
        return min(self.grace_s, self.pre_stop_s + 5)

    @property
    def failing_s(self) -> int:
        """Seconds in which traffic is still sent to a deleted pod that does not answer any more."""
        return max(0, self.lag_s - self.serves_on_s)

    def lead_s(self, boot_s: int = NODE_BOOT_S) -> int:
        """From the order for more pods to full service, nodes included."""
        return boot_s + self.until_serving_s + self.slow_start_s


def pod_times(fleet: Fleet, workload: LintDocument | None) -> PodTimes:
    """Of the pods of ``workload``; without one everything is assumed, with a load balancer in front."""
    if workload is None:
        return PodTimes()
    _, template = pod_template(workload)
    raw = template.get("spec")
    spec: Mapping[str, Any] = raw if isinstance(raw, dict) else {}
    container = _first_container(spec)
    assumed = ["start"]
    pre_stop = _pre_stop(container)
    pulled = _pre_pulled(fleet, container)
    if not pulled:
        assumed.insert(0, "image pull")
    register, slow, lag = _in_front(fleet, workload, labels_of(template))
    return PodTimes(
        pull_s=0 if pulled else PULL_S,
        ready_s=_probe_s(container.get("readinessProbe")),
        register_s=register,
        slow_start_s=slow,
        lag_s=lag,
        pre_stop_s=pre_stop,
        grace_s=_seconds(spec.get("terminationGracePeriodSeconds"), GRACE_S),
        assumed=tuple(assumed),
    )


def _first_container(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    listed = spec.get("containers")
    for one in listed if isinstance(listed, list) else ():
        if isinstance(one, dict):
            return one
    return {}


def _seconds(value: object, default: int) -> int:
    """A count of seconds that somebody wrote, as a number or in quotes, an hour at the most."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return min(value, 3600)
    return default


def _probe_s(probe: object) -> int:
    """Until a pod that answers from its first second on is Ready, at the latest."""
    if not isinstance(probe, dict):
        return 0
    times = max(1, _seconds(probe.get("successThreshold"), 1))
    period = max(1, _seconds(probe.get("periodSeconds"), 10))
    return _seconds(probe.get("initialDelaySeconds"), 0) + times * period


def _pre_stop(container: Mapping[str, Any]) -> int:
    lifecycle = container.get("lifecycle")
    hook = lifecycle.get("preStop") if isinstance(lifecycle, dict) else None
    if not isinstance(hook, dict):
        return 0
    sleep = hook.get("sleep")
    if isinstance(sleep, dict):
        return _seconds(sleep.get("seconds"), 0)
    command = hook.get("exec")
    words = command.get("command") if isinstance(command, dict) else None
    text = " ".join(str(one) for one in words) if isinstance(words, list) else ""
    _, found, after = text.partition("sleep ")
    return _seconds(after.split()[0].rstrip(";&"), 0) if found and after.split() else 0


def _pre_pulled(fleet: Fleet, container: Mapping[str, Any]) -> bool:
    """Whether something pulls the image beforehand: an ImagePullJob, or a DaemonSet with it as an init container."""
    image = container.get("image")
    if not isinstance(image, str) or not image or container.get("imagePullPolicy") == "Always":
        return False
    if any(one.at("spec", "image") == image for one in fleet.of_kind("ImagePullJob")):
        return True
    for one in fleet.of_kind("DaemonSet"):
        listed = one.at("spec", "template", "spec", "initContainers")
        for init in listed if isinstance(listed, list) else ():
            if isinstance(init, dict) and init.get("image") == image:
                return True
    return False


def _in_front(
    fleet: Fleet, workload: LintDocument, labels: Mapping[str, str]
) -> tuple[int, int, int]:
    """(seconds to register, of slow start, of traffic after a delete) by what routes to the pods."""
    services = {
        one.name
        for one in fleet.of_kind("Service")
        if one.namespace == workload.namespace
        and isinstance(one.at("spec", "selector"), dict)
        and one.at("spec", "selector")
        and selects({"matchLabels": one.at("spec", "selector")}, labels)
    }
    for ingress in fleet.of_kind("Ingress"):
        if ingress.namespace != workload.namespace or not services & _backends(ingress):
            continue
        found = ingress.at("metadata", "annotations")
        notes: Mapping[str, Any] = found if isinstance(found, dict) else {}
        checks = 0
        if notes.get(f"{_ALB}healthcheck-enabled") == "true":
            checks = _seconds(notes.get(f"{_ALB}healthy-threshold-count"), ALB_CHECKS) * _seconds(
                notes.get(f"{_ALB}healthcheck-interval-seconds"), ALB_INTERVAL_S
            )
        slow = 0
        if notes.get(f"{_ALB}slow-start-enabled") == "true":
            slow = _seconds(notes.get(f"{_ALB}slow-start-duration"), 30)
        return ALB_LAG_S + checks, slow, ALB_LAG_S
    return CLUSTER_LAG_S, 0, CLUSTER_LAG_S


def _backends(ingress: LintDocument) -> set[str]:
    names: set[str] = set()
    rules = ingress.at("spec", "rules")
    for rule in rules if isinstance(rules, list) else ():
        http = rule.get("http") if isinstance(rule, dict) else None
        paths = http.get("paths") if isinstance(http, dict) else None
        for path in paths if isinstance(paths, list) else ():
            backend = path.get("backend") if isinstance(path, dict) else None
            service = backend.get("service") if isinstance(backend, dict) else None
            if isinstance(service, dict) and isinstance(service.get("name"), str):
                names.add(service["name"])
    return names
