"""Rules for probes: thresholds that turn one slow minute into a cascade of restarts.

Window W = failureThreshold x period + timeout. A probe that waits T s in the same queue as buyers fails above the load
rho* = 1 - 1/(c T), c being what a pod serves a second; every kill moves the load of the rest to lambda / ((N - 1) c).
"""

import re
from collections.abc import Iterator
from typing import Any

from saleops.domain.lint.documents import KeyPath
from saleops.domain.lint.estate import Pods, estate_of
from saleops.domain.lint.findings import Edit
from saleops.domain.lint.fleet import Fleet
from saleops.domain.lint.mechanical_fixes import insert_key
from saleops.domain.lint.plain_values import rows, scalar, table, text
from saleops.domain.lint.probe_windows import Probe, cascade, probe_of, timed_probe
from saleops.domain.lint.rules import Hit, rule
from saleops.domain.lint.scalars import replaced

_SOURCE = "kubernetes.io docs, probes"
_WORDS = re.compile(
    r"(?<![a-z])(?:ready|readyz|readiness|deep|depend(?:s|ency|encies)?|databases?|full|db)(?![a-z])"
)
"""Whole words of a path: ``/already`` asks nobody."""
_CALLS = re.compile(
    r"\b(curl|wget|nc|ncat|mysql|mysqladmin|redis-cli|valkey-cli|psql|pg_isready|mongo|mongosh)\b(.*)",
    re.S,
)
_ADDRESS = re.compile(r"(?:[a-z]+://|\s-h\s*|--host[= ])\[?([A-Za-z0-9_.:$(){}-]+)")
_OWN_ADDRESS = re.compile(r"\$[({]?(?:[A-Z_]*POD_(?:IP|NAME)|HOSTNAME|hostname)\b")
_HOME = ("localhost", "127.", "::1", "0.0.0.0")  # noqa: S104  # an address to compare with, nothing is bound


@rule(
    "PRB001",
    "error",
    "A liveness probe that waits less than 3 s",
    why="The default timeout is 1 s. A pod that is merely busy answers later than that and is killed, which makes the "
    "rest busier.",
    fix="Write timeoutSeconds: 5 under livenessProbe.",
    source=_SOURCE,
    bad="livenessProbe: {httpGet: {path: /livez, port: 8080}}  # timeoutSeconds 1",
    good="livenessProbe: {httpGet: {path: /livez, port: 8080}, timeoutSeconds: 5, failureThreshold: 6}",
)
def impatient_liveness(fleet: Fleet) -> Iterator[Hit]:
    for pods, path, container in probed(fleet):
        live = timed_probe(container, "livenessProbe")
        if live is None or live.timeout_s >= 3:
            continue
        at: KeyPath = (*path, "livenessProbe")
        explicit = live.value.get("timeoutSeconds") is not None
        p99 = fleet.sale.checkout_p99_ms if fleet.sale else 0.0
        beside = f"; checkout's p99 may reach {p99:,.0f} ms" if p99 else ""
        said = f"waits {live.timeout_s} s" + ("" if explicit else " (the default)")
        near = (
            f" One request in a hundred may take {p99 / 10 / live.timeout_s:.0f} % of that already."
            if p99
            else ""
        )
        yield Hit(
            pods.document,
            (*at, "timeoutSeconds") if explicit else at,
            f"{pods.name}: livenessProbe {said} x {live.failures} failures{beside}",
            why=f"{live.failures} slow answers in a row kill the pod, {live.window_s} s after it got busy.{near} "
            + cascade(fleet, pods, live),
            edits=_timeout_edits(pods, at, explicit),
            key=True,
        )


@rule(
    "PRB002",
    "error",
    "A liveness probe that kills within half a minute",
    why="A pause for garbage collection, a cold cache or a full pool lasts longer; a restart makes each of them worse.",
    fix="Write periodSeconds: 10 and failureThreshold: 6 under livenessProbe: 60 s of silence before a kill.",
    source=_SOURCE,
    bad="livenessProbe: {periodSeconds: 5, failureThreshold: 3}",
    good="livenessProbe: {periodSeconds: 10, failureThreshold: 6}",
)
def hasty_liveness(fleet: Fleet) -> Iterator[Hit]:
    for pods, path, container in probed(fleet):
        live = timed_probe(container, "livenessProbe")
        if live is None or live.failures * live.period_s >= 60:
            continue
        silence = live.failures * live.period_s
        at: KeyPath = (*path, "livenessProbe")
        yield Hit(
            pods.document,
            (*at, "failureThreshold") if live.value.get("failureThreshold") is not None else at,
            f"{pods.name}: {live.failures} failures x {live.period_s} s = {silence} s of silence kill the pod",
            why=f"A stall of {live.window_s} s (garbage collection, a cold cache, a wait for the pool) becomes a restart. "
            + cascade(fleet, pods, live),
            severity="error" if silence < 30 else "warning",
            edits=_silence_edits(pods, at, live),
            key=True,
        )


@rule(
    "PRB003",
    "error",
    "Liveness and readiness ask the same question",
    why="Readiness is meant to fail under load; when liveness asks the same, the pod is killed for what it should be spared.",
    fix="Ask /livez for liveness and /readyz for readiness, or give liveness at least twice readiness' window.",
    source="kubernetes.io docs, probes; kube-score pod-probes-identical",
    bad="livenessProbe and readinessProbe both GET /healthz with 3 x 10 s",
    good="livenessProbe GET /livez 6 x 10 s, readinessProbe GET /readyz 2 x 5 s",
)
def one_question(fleet: Fleet) -> Iterator[Hit]:
    for pods, path, container in probed(fleet):
        live, ready = (
            timed_probe(container, "livenessProbe"),
            timed_probe(container, "readinessProbe"),
        )
        if live is None or ready is None or not live.handler or live.handler != ready.handler:
            continue
        close = live.window_s < 2 * ready.window_s
        yield Hit(
            pods.document,
            (*path, "livenessProbe"),
            f"{pods.name}: livenessProbe and readinessProbe ask the same ({live.question}), for {live.window_s} s and "
            f"{ready.window_s} s",
            why=f"A pod that is out of its endpoints for {live.window_s - ready.window_s} s is killed, "
            "before it can work off what it has."
            if close
            else f"The kill comes {live.window_s - ready.window_s} s after the removal; what makes a pod unready for longer "
            "restarts it.",
            severity="error" if close else "warning",
            key=True,
        )


@rule(
    "PRB004",
    "warning",
    "A liveness probe that depends on others",
    why="When the database or the cache is slow, every pod fails the probe at once, and all of them restart together.",
    fix="Let livenessProbe ask /livez, which proves only that the process can work.",
    source=_SOURCE,
    bad="livenessProbe: {httpGet: {path: /health/db}}",
    good="livenessProbe: {httpGet: {path: /livez}}",
)
def liveness_of_others(fleet: Fleet) -> Iterator[Hit]:
    for pods, path, container in probed(fleet):
        live = probe_of(container, "livenessProbe")
        if live is None:
            continue
        get = table(live.value.get("httpGet"))
        if _WORDS.search(text(get.get("path")).lower()):
            yield Hit(
                pods.document,
                (*path, "livenessProbe", "httpGet", "path"),
                f"{pods.name}: livenessProbe asks {get['path']}, which sounds as if it asked others",
                why=_together(fleet, pods, live),
                key=True,
            )
        called = _called(
            " ".join(scalar(one) for one in rows(table(live.value.get("exec")).get("command")))
        )
        if called:
            yield Hit(
                pods.document,
                (*path, "livenessProbe", "exec"),
                f"{pods.name}: livenessProbe calls {called}",
                why=_together(fleet, pods, live),
                key=True,
            )


@rule(
    "PRB005",
    "error",
    "A Service sends to pods without a readiness probe",
    why="Without one a pod gets buyers the moment its process starts, before it listens, and until it is gone.",
    fix="Write readinessProbe: {httpGet: {path: /readyz, port: http}, periodSeconds: 5, timeoutSeconds: 2, failureThreshold: 2}.",
    source=_SOURCE,
    bad="a container behind a Service without readinessProbe",
    good="readinessProbe: {httpGet: {path: /readyz, port: http}, periodSeconds: 5, failureThreshold: 2}",
)
def no_readiness(fleet: Fleet) -> Iterator[Hit]:
    estate = estate_of(fleet)
    for pods in estate.pods:
        reached = [
            one
            for one in estate.services_of(pods)
            if one.at("spec", "publishNotReadyAddresses") is not True
        ]
        serving = estate.serving(pods) if reached and pods.long_running else None
        if serving is None or pods.partial:
            continue
        if any(probe_of(one, "readinessProbe") is not None for _, one in pods.containers()):
            continue  # a pod is Ready when all of its containers are: one that asks holds buyers off
        count = estate.count(pods).count
        yield Hit(
            pods.document,
            serving[0],
            f"{pods.name}: Service {reached[0].name} sends to {text(serving[1].get('name')) or 'a container'} without "
            "readinessProbe",
            why=f"Each of {count} pods gets buyers before it listens, at every start: on the way to the sale's size, at every "
            "rollout and after every reclaimed node.",
            key=True,
        )


def probed(fleet: Fleet) -> Iterator[tuple[Pods, KeyPath, dict[Any, Any]]]:
    """Every container that probes are for: those of workloads, not of jobs."""
    for pods in estate_of(fleet).pods:
        if pods.long_running:
            for path, container in pods.containers():
                yield pods, path, container


def _timeout_edits(pods: Pods, at: KeyPath, explicit: bool) -> tuple[Edit, ...]:
    if explicit:
        return replaced(pods.document, (*at, "timeoutSeconds"), "5")
    return insert_key(pods.document, at, "timeoutSeconds", "5")


def _silence_edits(pods: Pods, at: KeyPath, live: Probe) -> tuple[Edit, ...]:
    failures = -(-60 // live.period_s)
    if live.value.get("failureThreshold") is not None:
        return replaced(pods.document, (*at, "failureThreshold"), str(failures))
    return insert_key(pods.document, at, "failureThreshold", str(failures))


def _together(fleet: Fleet, pods: Pods, live: Probe) -> str:
    count = estate_of(fleet).count(pods).count
    return (
        f"{live.window_s} s after what it asks gets slow, all {count} pods restart in the same moment, and come back with cold "
        "caches to the whole load."
    )


def _called(command: str) -> str:
    """What an exec probe calls outside its own pod; "" if nothing."""
    found = _CALLS.search(command)
    if found is None:
        return ""
    for address in _ADDRESS.findall(found[2]):
        if not address.lower().startswith(_HOME) and not _OWN_ADDRESS.match(address):
            return f"{found[1]} {address}"[:80]
    return ""
