"""Rules for the annotations of ALB Ingresses: keys, values, health checks, limits, stickiness.

Ingresses on one AlbConfig are judged with each other in mind: one illegal parameter stops rule updates for all of them.
"""

import difflib
from collections.abc import Iterator

from saleops.domain.lint.alb_annotations import (
    ANNOTATIONS,
    CLASS_ANNOTATION,
    FOREIGN,
    PREFIX,
    known,
)
from saleops.domain.lint.alb_ingresses import (
    AlbIngress,
    alb_ingresses,
    answers_itself,
    backends,
    sharing,
)
from saleops.domain.lint.documents import KeyPath, LintDocument
from saleops.domain.lint.estate import Pods, estate_of
from saleops.domain.lint.findings import Edit
from saleops.domain.lint.fleet import Fleet
from saleops.domain.lint.mechanical_fixes import delete_key, insert_key
from saleops.domain.lint.plain_values import rows, table, tables, text
from saleops.domain.lint.rules import Hit, rule

_SOURCE = "alibaba-load-balancer-controller, annotations.go and usage.md"
GATE = "target-health.alb.k8s.alibabacloud"


def blast_radius(fleet: Fleet, ingress: AlbIngress) -> str:
    """What else stands still while the load balancer refuses this Ingress."""
    others = len(sharing(fleet, ingress)) - 1
    if not others:
        return "The load balancer refuses its rules (FailedApplyModel) until this is right."
    return (
        f"The load balancer refuses its rules, and with them those of the {others} other "
        f"Ingress{'es' if others > 1 else ''} on it: nothing can be changed during the sale."
    )


@rule(
    "ALB001",
    "error",
    "An ALB annotation that does not exist",
    why="The controller ignores keys that it does not know, without an event: the setting is not there on sale day.",
    fix="Remove the key and set it where the controller reads it.",
    source=_SOURCE,
    bad='alb.ingress.kubernetes.io/certificate-id: "cert-123456789"',
    good="AlbConfig: listeners: [{port: 443, protocol: HTTPS, certificates: [{CertificateId: 123-ap-southeast-1}]}]",
)
def no_such_annotation(fleet: Fleet) -> Iterator[Hit]:
    for document, key, name in _keys(fleet):
        if name in FOREIGN:
            extra = (
                " Without it port 443 has no certificate of yours: buyers get a TLS error or a certificate found by host name."
                if name.startswith("certificate-")
                else ""
            )
            yield Hit(
                document,
                ("metadata", "annotations", key),
                f"{key} does not exist: the ALB controller ignores it ({FOREIGN[name]})",
                why=f"The controller reads {len(ANNOTATIONS)} keys and this is none of them; nothing says so.{extra}",
                fix=f"Remove {key}: {FOREIGN[name]}.",
                key=True,
            )


@rule(
    "ALB001b",
    "warning",
    "An ALB annotation we do not know",
    why="A key that the controller does not know is ignored without an event. Newer controllers may have added it.",
    fix="Check the key's spelling, or the controller's release notes; suppress the finding if the key is new.",
    source=_SOURCE,
    bad='alb.ingress.kubernetes.io/healthcheck-enable: "true"',
    good='alb.ingress.kubernetes.io/healthcheck-enabled: "true"',
)
def unknown_annotation(fleet: Fleet) -> Iterator[Hit]:
    for document, key, name in _keys(fleet):
        if name in FOREIGN or known(name):
            continue
        near = difflib.get_close_matches(name[:80], ANNOTATIONS, n=1, cutoff=0.75)
        meant = f"; did you mean {PREFIX}{near[0]}?" if near else ""
        yield Hit(
            document,
            ("metadata", "annotations", key),
            f"{key} is no annotation we know of the ALB controller{meant}",
            fix=f"Write {PREFIX}{near[0]}." if near else "",
            key=True,
        )


@rule(
    "ALB002",
    "warning",
    "The deprecated class annotation",
    why="Kubernetes deprecated kubernetes.io/ingress.class in 1.18; it reaches the default AlbConfig only, never a sale's own.",
    fix="Write spec.ingressClassName with an IngressClass whose parameters name the AlbConfig.",
    source="kubernetes.io docs, Ingress: deprecated annotation",
    bad="metadata: {annotations: {kubernetes.io/ingress.class: alb}}",
    good="spec: {ingressClassName: alb}",
)
def class_annotation(fleet: Fleet) -> Iterator[Hit]:
    for document in fleet.of_kind("Ingress"):
        annotations = table(document.at("metadata", "annotations"))
        if CLASS_ANNOTATION not in annotations:
            continue
        path: KeyPath = ("metadata", "annotations", CLASS_ANNOTATION)
        value = text(annotations[CLASS_ANNOTATION])
        named = document.at("spec", "ingressClassName")
        differ = bool(named) and named != value
        both = (
            f" and spec.ingressClassName {named!r} is set too: the API server refuses both"
            if named
            else ""
        )
        yield Hit(
            document,
            path,
            f"the annotation {CLASS_ANNOTATION}: {value} is deprecated{both}",
            why=_class_why(value, named),
            fix=f"Decide for {value!r} or {named!r}, write it into spec.ingressClassName, and remove the annotation."
            if differ
            else f"Remove the annotation and write spec.ingressClassName: {value or 'alb'}.",
            key=True,
            edits=() if differ else _class_edits(document, path, value, bool(named)),
        )


@rule(
    "ALB004",
    "error",
    "No health check on the load balancer",
    why="The ALB's health check is off by default: it sends buyers to pods that hang until Kubernetes removes them.",
    fix='Write alb.ingress.kubernetes.io/healthcheck-enabled: "true" with healthcheck-path and healthcheck-method: GET.',
    source=_SOURCE,
    bad="annotations without healthcheck-enabled",
    good='alb.ingress.kubernetes.io/healthcheck-enabled: "true"',
)
def health_check_off(fleet: Fleet) -> Iterator[Hit]:
    for ingress in alb_ingresses(fleet):
        if ingress.on("healthcheck-enabled") or not _has_pods(ingress):
            continue
        gated = [one for one in backends(fleet, ingress) if has_gate(one)]
        said = "is not" if ingress.has("healthcheck-enabled") else "is not set, so it is not"
        message = f'healthcheck-enabled {said} "true": the ALB does not check the pods of {ingress.document.name}'
        if gated:
            message += f", and the readiness gate of {gated[0].name} never turns true"
        yield Hit(
            ingress.document,
            ingress.path("healthcheck-enabled"),
            message,
            why=(
                f"The pods of {gated[0].name} wait for {GATE}, which only a passed health check sets: a rollout never finishes."
                if gated
                else ""
            ),
            edits=(
                ()
                if ingress.has("healthcheck-enabled")
                else insert_key(
                    ingress.document,
                    ("metadata", "annotations"),
                    f"{PREFIX}healthcheck-enabled",
                    '"true"',
                )
            ),
        )
    routed = {id(pods) for one in alb_ingresses(fleet) for pods in backends(fleet, one)}
    for pods in estate_of(fleet).pods if routed else ():
        gates = rows(pods.spec.get("readinessGates"))
        if has_gate(pods) and id(pods) not in routed:
            yield Hit(
                pods.document,
                (*pods.spec_path, "readinessGates") if gates else pods.spec_path,
                f"{pods.name} waits for {GATE}, and no ALB Ingress routes to it",
                why="Only an ALB that checks the pod sets the condition: the pod never becomes Ready.",
                fix="Remove the readiness gate, or route an Ingress with a health check to the pods.",
            )


@rule(
    "ALB005",
    "warning",
    "The health check asks for something the service may not answer",
    why="The default is HEAD / every 2 s. A service that answers GET /readyz only is taken out although it is well, or kept "
    "although it is not ready.",
    fix="Write healthcheck-path as the readiness probe has it, and healthcheck-method: GET.",
    source=_SOURCE,
    bad='alb.ingress.kubernetes.io/healthcheck-enabled: "true"  # and nothing else: HEAD /',
    good="healthcheck-path: /readyz, healthcheck-method: GET",
)
def health_check_at_random(fleet: Fleet) -> Iterator[Hit]:
    for ingress in alb_ingresses(fleet):
        if not ingress.on("healthcheck-enabled") or not _has_pods(ingress):
            continue
        if ingress.annotation("healthcheck-protocol") not in ("HTTP", "HTTPS"):
            continue
        method, path = (
            ingress.annotation("healthcheck-method"),
            ingress.annotation("healthcheck-path"),
        )
        ready = _readiness_paths(fleet, ingress)
        wrong_path = path == "/" and "/" not in ready
        if not wrong_path and not (method == "HEAD" and ready):
            continue
        asked = f"{method} {path} every {ingress.annotation('healthcheck-interval-seconds')} s"
        probed = f"; Kubernetes probes GET {ready[0]}" if ready else ""
        unhealthy = (ingress.number("unhealthy-threshold-count") or 3) * (
            ingress.number("healthcheck-interval-seconds") or 2
        )
        yield Hit(
            ingress.document,
            ingress.path(
                "healthcheck-path" if ingress.has("healthcheck-path") else "healthcheck-enabled"
            ),
            f"the ALB asks {asked}{probed}",
            why=f"What does not answer {method} {path} with 2xx is out of the load balancer after {unhealthy} s, every pod "
            "at once; what answers it before it is ready gets buyers too early.",
            fix=f"Write healthcheck-path: {ready[0] if ready else '/readyz'} and healthcheck-method: GET.",
        )


@rule(
    "ALB006",
    "warning",
    "Sticky sessions",
    why="Buyers stay on the pods they met first: new pods get new buyers only, and a pod that dies takes its sessions with it.",
    fix="Keep sessions in the shared cache and take sticky-session away.",
    source=_SOURCE,
    bad='alb.ingress.kubernetes.io/sticky-session: "true"',
    good="no sticky-session; the session is in Tair",
)
def sticky_session(fleet: Fleet) -> Iterator[Hit]:
    for ingress in alb_ingresses(fleet):
        if not ingress.on("sticky-session"):
            continue
        held = ingress.annotation("cookie-timeout")
        why = ""
        for pods in backends(fleet, ingress):
            count = estate_of(fleet).count(pods).count
            if count > 1:
                why = (
                    f"Buyers stay with their pod of {pods.name} for {held} s: pods that the sale adds on the way to {count} "
                    "get new buyers only, and one pod that dies loses the sessions of all who met it."
                )
        yield Hit(
            ingress.document,
            ingress.path("sticky-session"),
            f"sticky-session keeps buyers on one pod for {held} s",
            why=why,
        )


def has_gate(pods: Pods) -> bool:
    return any(
        one.get("conditionType") == GATE for _, one in tables(pods.spec.get("readinessGates"))
    )


def _keys(fleet: Fleet) -> Iterator[tuple[LintDocument, str, str]]:
    """Every annotation with the controller's prefix: the Ingress, the key, the key without the prefix."""
    for document in fleet.of_kind("Ingress"):
        for key in table(document.at("metadata", "annotations")):
            if isinstance(key, str) and key.startswith(PREFIX):
                yield document, key, key.removeprefix(PREFIX)


def _has_pods(ingress: AlbIngress) -> bool:
    return any(one.service and not answers_itself(one) for one in ingress.routes)


def _class_why(value: str, named: object) -> str:
    reach = (
        f"It selects the class by a text that is no object: it reaches the default AlbConfig of {value} only"
        if value == "alb"
        else "It selects the class by a text that is no object, which no parameters hang on"
    )
    if named and named != value:
        return f"Which of {value!r} and {named!r} serves the Ingress depends on the controllers that run: both may, or neither."
    return f"{reach}, and a controller without legacy support serves nothing for this Ingress."


def _class_edits(
    document: LintDocument, path: KeyPath, value: str, named: bool
) -> tuple[Edit, ...]:
    if value != "alb" and not named:
        return ()  # nobody knows whether an IngressClass of that name exists
    gone = delete_key(document, path)
    if named or not gone:
        return gone
    added = insert_key(document, ("spec",), "ingressClassName", value)
    return (*gone, *added) if added else ()


def _readiness_paths(fleet: Fleet, ingress: AlbIngress) -> list[str]:
    """The paths that kubelets ask for on the pods behind ``ingress``."""
    found = []
    for pods in backends(fleet, ingress):
        serving = estate_of(fleet).serving(pods)
        probe = table(serving[1].get("readinessProbe")) if serving else {}
        if isinstance(probe.get("httpGet"), dict):
            found.append(text(probe["httpGet"].get("path")) or "/")
    return found
