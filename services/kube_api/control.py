"""The control API under ``/_local/``: the hands that a rehearsal needs and no cluster offers.

    GET  /_local/health                          who runs here; needs no token
    GET  /_local/clock, POST {"advance_s": 60}   let time pass (virtual clocks)
    GET  /_local/faults, PUT {...}, DELETE       what goes wrong on purpose (faults.py)
    POST /_local/faults    {...}                 one more rule
    GET  /_local/calls?since=N&limit=N&verb=V&resource=R
    POST /_local/nodes     {"name", "cpu", "memory", "pods", "labels", "annotations", "taints", "provider_id"}
    POST /_local/ready     {"node", "ready": true|false|null}    the kubelet speaks, or falls silent
    POST /_local/remove    {"node"}              the machine is gone, with all that ran on it
    POST /_local/feed      {"pool", "nodes": [...]}  the nodes of a pool are exactly these (a local cloud's node pool)
    POST /_local/load      {"namespace", "workload", "cpu_millis"}   what an autoscaler measures
    POST /_local/forget                          compaction: older watches hear 410 Gone
    POST /_local/reset                           an empty cluster

It wants an admin's token as ``Authorization: Bearer``, and a Host on loopback, so that no web page in a browser gets here.
"""

import logging
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from saleops.services.kube_api.documents import mapping, name_of, sequence, text, whole
from saleops.services.kube_api.faults import FaultPlan, Rule
from saleops.services.kube_api.machines import (
    Machine,
    add_node,
    feed_pool,
    remove_node,
    set_node_ready,
)
from saleops.services.kube_api.refusals import KubeError, bad_request, unauthorized
from saleops.services.kube_api.users import ADMIN
from saleops.services.kube_api.wire import Answer, Request, answer, refusal

if TYPE_CHECKING:
    from saleops.services.kube_api.core import KubeApi

log = logging.getLogger("saleops.services.kube_api")

CONTROL_PATH = "/_local"
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
CALLS_LIMIT = 1_000

Body = Mapping[str, Any]
Act = Callable[["KubeApi", Request, Body], Any]


class Control:
    def __init__(self) -> None:
        self._acts: dict[tuple[str, str], Act] = {
            ("GET", "clock"): _clock,
            ("POST", "clock"): _advance,
            ("GET", "faults"): lambda api, request, body: api.faults.plan,
            ("PUT", "faults"): _set_faults,
            ("POST", "faults"): _add_rule,
            ("DELETE", "faults"): _clear_faults,
            ("GET", "calls"): _calls,
            ("POST", "nodes"): _add_node,
            ("POST", "ready"): _ready,
            ("POST", "remove"): _remove,
            ("POST", "feed"): _feed,
            ("POST", "load"): _load,
            ("POST", "forget"): _forget,
            ("POST", "reset"): _reset,
        }

    def handle(self, api: "KubeApi", request: Request) -> Answer:
        try:
            return answer(200, self._act(api, request))
        except KubeError as error:
            return refusal(error)
        except Exception:
            log.exception("control %s %s failed", request.method, request.path)
            return refusal(KubeError(500, "a bug in this API; see its log"))

    def _act(self, api: "KubeApi", request: Request) -> Any:
        host = request.header("host")
        if host not in LOOPBACK and host.rpartition(":")[0] not in LOOPBACK:
            raise KubeError(403, "the control API answers on loopback alone")
        parts = [part for part in request.path.removeprefix(CONTROL_PATH).split("/") if part]
        name = parts[0] if parts else "health"
        if name == "health":
            return {"service": "saleops kube api", "pid": os.getpid()}
        if api.user_of(request) is not ADMIN:
            raise unauthorized()
        act = self._acts.get((request.method, name))
        if act is None or len(parts) != 1:
            raise KubeError(404, "there is nothing here")
        api.catch_up()
        done = act(api, request, _body(request))
        api.catch_up()
        return done


def _body(request: Request) -> Body:
    document = request.document() if request.body else {}
    if not isinstance(document, dict):
        raise bad_request("the body is a JSON object")
    return document


def _clock(api: "KubeApi", request: Request, body: Body) -> Any:
    return {"now_ms": api.time.now_ms(), "mode": api.time.mode, "speed": api.time.speed}


def _advance(api: "KubeApi", request: Request, body: Body) -> Any:
    seconds = body.get("advance_s")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise bad_request("advance_s is a number of seconds")
    try:
        api.advance(seconds)
    except ValueError as error:
        raise bad_request(f"advance_s: {error}") from None
    return _clock(api, request, body)


def _set_faults(api: "KubeApi", request: Request, body: Body) -> Any:
    try:
        plan = msgspec.convert(dict(body), FaultPlan)
    except (msgspec.ValidationError, ValueError) as error:
        raise bad_request(str(error)) from None
    api.faults.use(plan)
    return plan


def _add_rule(api: "KubeApi", request: Request, body: Body) -> Any:
    try:
        rule = msgspec.convert(dict(body), Rule)
    except (msgspec.ValidationError, ValueError) as error:
        raise bad_request(str(error)) from None
    api.faults.add(rule)
    return rule


def _clear_faults(api: "KubeApi", request: Request, body: Body) -> Any:
    api.faults.use(FaultPlan())
    return api.faults.plan


def _calls(api: "KubeApi", request: Request, body: Body) -> Any:
    asked = request.asked()
    since, limit = asked.get("since", "0"), asked.get("limit", str(CALLS_LIMIT))
    if not (since.isdigit() and limit.isdigit()):
        raise bad_request("since and limit are whole numbers")
    found = [
        call
        for call in api.calls.calls
        if call["n"] > int(since)
        and asked.get("verb") in (None, call.get("verb"))
        and asked.get("resource") in (None, call.get("resource"))
    ]
    return {"count": api.calls.count, "calls": found[: int(limit)]}


def _add_node(api: "KubeApi", request: Request, body: Body) -> Any:
    return {"node": name_of(add_node(api, _machine(body)))}


def _machine(body: Any) -> Machine:
    try:
        return msgspec.convert(body, Machine)
    except (msgspec.ValidationError, ValueError) as error:
        raise bad_request(str(error)) from None


def _node_named(body: Body) -> str:
    name = text(body.get("node"))
    if not name:
        raise bad_request("node is the name of one")
    return name


def _ready(api: "KubeApi", request: Request, body: Body) -> Any:
    ready = body.get("ready")
    if ready is not None and not isinstance(ready, bool):
        raise bad_request("ready is true, false, or null for a kubelet that is silent")
    set_node_ready(api, _node_named(body), ready)
    return {"ready": ready}


def _remove(api: "KubeApi", request: Request, body: Body) -> Any:
    remove_node(api, _node_named(body))
    return {"removed": True}


def _feed(api: "KubeApi", request: Request, body: Body) -> Any:
    pool = text(body.get("pool"))
    if not pool:
        raise bad_request("pool is the id of a node pool")
    machines = [_machine(mapping(one)) for one in sequence(body.get("nodes"))]
    return feed_pool(api, pool, machines)


def _load(api: "KubeApi", request: Request, body: Body) -> Any:
    namespace, workload = text(body.get("namespace")), text(body.get("workload"))
    load = body.get("cpu_millis")
    if not namespace or not workload or not (load is None or whole(load, -1) >= 0):
        raise bad_request("load has namespace, workload and cpu_millis, a whole number or null")
    api.controllers.autoscaler.tell_load(namespace, workload, load)
    return {"cpu_millis": load}


def _forget(api: "KubeApi", request: Request, body: Body) -> Any:
    api.store.forget_past()
    return {"oldest": api.store.oldest}


def _reset(api: "KubeApi", request: Request, body: Body) -> Any:
    api.reset()
    return {"reset": True}
