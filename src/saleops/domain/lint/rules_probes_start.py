"""Rules for starts: when a pod is ready, how long it may take, and where its image comes from."""

import re
from collections.abc import Iterator

from saleops.domain.lint.alb_ingresses import alb_ingresses, backends
from saleops.domain.lint.estate import estate_of
from saleops.domain.lint.fleet import Fleet
from saleops.domain.lint.plain_values import rows, scalar, table, tables, text, whole
from saleops.domain.lint.probe_windows import COLD_START, probe_of, runtime_of, timed_probe
from saleops.domain.lint.rules import Hit, rule
from saleops.domain.lint.rules_alb import has_gate
from saleops.domain.lint.rules_probes import probed
from saleops.domain.lint.scalars import replaced


@rule(
    "PRB006",
    "warning",
    "A readiness probe that is too slow or too nervous",
    why="More than 30 s keep buyers on a sick pod; one failure of 1 s takes a healthy pod out for one slow answer.",
    fix="Write periodSeconds: 5, timeoutSeconds: 2, failureThreshold: 2 under readinessProbe.",
    source="kubernetes.io docs, probes",
    bad="readinessProbe: {periodSeconds: 20, failureThreshold: 3}",
    good="readinessProbe: {periodSeconds: 5, timeoutSeconds: 2, failureThreshold: 2}",
)
def readiness_pace(fleet: Fleet) -> Iterator[Hit]:
    for pods, path, container in probed(fleet):
        ready = timed_probe(container, "readinessProbe")
        if ready is None:
            continue
        removal = ready.failures * ready.period_s
        if removal > 30:
            yield Hit(
                pods.document,
                (*path, "readinessProbe"),
                f"{pods.name}: a sick pod stays in its endpoints for {ready.failures} x {ready.period_s} s = {removal} s",
                why=f"For {removal} s one in {max(estate_of(fleet).count(pods).count, 1)} buyers reaches a pod that "
                "does not answer.",
                key=True,
            )
        elif ready.failures == 1 and ready.timeout_s == 1:
            yield Hit(
                pods.document,
                (*path, "readinessProbe", "failureThreshold"),
                f"{pods.name}: one answer slower than 1 s takes a pod out of its endpoints",
                why="At the peak many pods are slow for a second: they leave together, and the rest get their load, until all "
                "have left and everyone gets 503.",
                key=True,
            )


@rule(
    "PRB010",
    "error",
    "A pod is killed before it is taken out",
    why="Readiness is there to spare a pod that is busy. When liveness is no slower, the pod is killed instead.",
    fix="Make liveness the slower one: 6 x 10 s with timeout 5 s, readiness 2 x 5 s with timeout 2 s.",
    source="kubernetes.io docs, probes",
    bad="livenessProbe 3 x 10 s, readinessProbe 6 x 10 s",
    good="livenessProbe 6 x 10 s, readinessProbe 2 x 5 s",
)
def killed_first(fleet: Fleet) -> Iterator[Hit]:
    for pods, path, container in probed(fleet):
        live, ready = (
            timed_probe(container, "livenessProbe"),
            timed_probe(container, "readinessProbe"),
        )
        if live is None or ready is None or live.window_s > ready.window_s:
            continue
        yield Hit(
            pods.document,
            (*path, "livenessProbe"),
            f"{pods.name}: liveness kills after {live.window_s} s, readiness takes out after {ready.window_s} s",
            why=f"Liveness {live.failures} x {live.period_s} + {live.timeout_s} = {live.window_s} s, readiness "
            f"{ready.failures} x "
            f"{ready.period_s} + {ready.timeout_s} = {ready.window_s} s: a busy pod is restarted with its buyers still on it.",
            key=True,
        )


@rule(
    "PRB011",
    "warning",
    "Pre-pulled images are pulled again",
    why="Always, or a tag that moves, asks the registry at every start: the sale's pods wait for it together, and it may refuse.",
    fix="Write imagePullPolicy: IfNotPresent and the image with its digest.",
    source="kubernetes.io docs, images",
    bad="image: shop/order:latest, imagePullPolicy: Always",
    good="image: shop/order@sha256:..., imagePullPolicy: IfNotPresent",
)
def pulled_again(fleet: Fleet) -> Iterator[Hit]:
    puller = _pre_pull(fleet)
    for pods, path, container in probed(fleet) if puller else ():
        if pods.kind == "DaemonSet":
            continue
        image, policy = text(container.get("image")), text(container.get("imagePullPolicy"))
        moves = _moves(image)
        if not image or not (policy == "Always" or moves):
            continue
        count = estate_of(fleet).count(pods).count
        what = "imagePullPolicy: Always" if policy == "Always" else f"image {image} has {moves}"
        yield Hit(
            pods.document,
            (*path, "imagePullPolicy" if policy == "Always" else "image"),
            f"{pods.name}: {what}, although {puller} pulls images ahead",
            why=f"All {count} starts ask the registry again, on the way to the sale's size within the same minutes.",
            edits=replaced(pods.document, (*path, "imagePullPolicy"), "IfNotPresent")
            if policy == "Always" and not moves
            else (),
            key=True,
        )


def _pre_pull(fleet: Fleet) -> str:
    """What pulls images ahead: an ImagePullJob, or a DaemonSet whose init containers only come and go; "" if nothing does."""
    for one in fleet.of_kind("ImagePullJob"):
        return f"ImagePullJob {one.name}"
    for pods in estate_of(fleet).pods:
        if pods.kind == "DaemonSet" and any(
            [scalar(word) for word in rows(one.get("command"))] in (["true"], ["/bin/true"])
            for _, one in tables(pods.spec.get("initContainers"))
        ):
            return f"DaemonSet {pods.name}"
    return ""


def _moves(image: str) -> str:
    """What of ``image`` may mean another image tomorrow; "" where a tag or digest fixes it."""
    if re.search(r"@sha256:[0-9a-f]+$", image):
        return ""
    tag = image.rpartition("/")[2].partition(":")[2]
    return "" if tag and tag != "latest" else "the tag latest" if tag else "no tag"


@rule(
    "PRB009",
    "info",
    "Ready for Kubernetes before the load balancer has checked",
    why="A rollout takes the next old pod down when the new one is Ready; the ALB sends to it only after its own checks.",
    fix="Write readinessGates: [{conditionType: target-health.alb.k8s.alibabacloud}] in the pod template.",
    source="ALB Ingress documentation, readiness gates",
    bad="readinessProbe 1 x 5 s, ALB 3 x 2 s, no readiness gate",
    good="readinessGates: [{conditionType: target-health.alb.k8s.alibabacloud}]",
)
def ready_too_early(fleet: Fleet) -> Iterator[Hit]:
    said: set[int] = set()
    for ingress in alb_ingresses(fleet):
        if not ingress.on("healthcheck-enabled"):
            continue
        checks = ingress.number("healthy-threshold-count") or 3
        alb_s = checks * (ingress.number("healthcheck-interval-seconds") or 2)
        for pods in backends(fleet, ingress):
            serving = estate_of(fleet).serving(pods)
            ready = timed_probe(serving[1], "readinessProbe") if serving else None
            if ready is None or serving is None or has_gate(pods) or id(pods) in said:
                continue
            if ready.successes * ready.period_s < alb_s:
                said.add(id(pods))
                yield Hit(
                    pods.document,
                    (*serving[0], "readinessProbe"),
                    f"{pods.name} is Ready after {ready.successes} x {ready.period_s} s, the ALB sends after {alb_s} s, and no "
                    "readiness gate joins them",
                    why=f"At each step of a rollout the old pod goes {alb_s - ready.successes * ready.period_s} s before the "
                    "new one gets requests: the rest carry its share.",
                    key=True,
                )


@rule(
    "PRB008",
    "warning",
    "A startup probe shorter than two cold starts",
    why="A start that takes longer than usual, on a node that pulls the image for twenty pods at once, is killed and "
    "begins again.",
    fix="Write failureThreshold so that failureThreshold x periodSeconds is at least twice the cold start.",
    source="kubernetes.io docs, probes",
    bad=f"{COLD_START}: 60 with startupProbe 30 x 2 s",
    good=f"{COLD_START}: 60 with startupProbe 60 x 2 s",
)
def short_startup(fleet: Fleet) -> Iterator[Hit]:
    for pods, path, container in probed(fleet):
        startup = timed_probe(container, "startupProbe")
        annotations = table(table(pods.template.get("metadata")).get("annotations"))
        cold = whole(annotations.get(COLD_START)) or 0
        if startup is None or cold <= 0:
            continue
        window = startup.failures * startup.period_s + startup.delay_s
        if window < 2 * cold:
            yield Hit(
                pods.document,
                (*path, "startupProbe"),
                f"{pods.name}: startupProbe gives up after {window} s; a cold start takes {cold} s, twice that is {2 * cold} s",
                why=f"When all pods start at once a start of {window} s is no exception; it is killed, and the next "
                "one is as slow.",
                fix=f"Write failureThreshold: {-(-2 * cold // startup.period_s)}.",
                key=True,
            )


@rule(
    "PRB007",
    "warning",
    "Liveness is held off by a guess",
    why="initialDelaySeconds is a guess for every start: too short kills slow starts, too long leaves hangs alone. A "
    "startupProbe "
    "waits as long as it takes.",
    fix="Write startupProbe: {httpGet: {path: /livez, port: http}, periodSeconds: 2, failureThreshold: 60} and drop the delay.",
    source="kubernetes.io docs, probes",
    bad="livenessProbe: {initialDelaySeconds: 60}",
    good="startupProbe: {periodSeconds: 2, failureThreshold: 60}",
)
def guessed_start(fleet: Fleet) -> Iterator[Hit]:
    for pods, path, container in probed(fleet):
        live = timed_probe(container, "livenessProbe")
        if live is None or probe_of(container, "startupProbe") is not None:
            continue
        runtime = runtime_of(container)
        if not live.delay_s and not runtime:
            continue
        first = live.delay_s + live.window_s
        yield Hit(
            pods.document,
            (*path, "livenessProbe", "initialDelaySeconds")
            if live.delay_s
            else (*path, "livenessProbe"),
            f"{pods.name}: livenessProbe "
            + (
                f"waits {live.delay_s} s by guess"
                if live.delay_s
                else f"runs from the start of a {runtime}"
            )
            + " and there is no startupProbe",
            why=f"A start that takes longer than {first} s is killed and begins again; on the way to the sale's size every "
            "node pulls and starts at once, and starts are slowest then.",
            key=True,
        )
