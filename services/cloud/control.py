"""The control API under ``/_local/``: the hands that a rehearsal needs and no cloud offers.

    GET  /_local/health                       who runs here; needs no key
    GET  /_local/clock                        {now_ms, mode, speed}
    POST /_local/clock     {"advance_s": 60}  let time pass
    GET  /_local/faults, PUT {...}, DELETE    what goes wrong on purpose (faults.py)
    GET  /_local/calls?since=N&api=NAME&request_id=ID&writes=true&limit=N
    GET  /_local/state, /_local/state/KIND, /_local/state/KIND/ID
    POST /_local/edit      {"kind", "id", "path": "a.b.0.c", "value"}   as somebody in the console would (edits.py)
    GET  /_local/settings, PUT {...}          quotas, stock, prices: a JSON merge patch (null removes)
    POST /_local/reset                        an empty cloud
    POST /_local/<hook>    {...}              what products add (hooks.py), such as reclaim

It wants the access key's secret as ``Authorization: Bearer``, and a Host on loopback, so that no web page in a browser gets here.
"""

import hmac
import json
import logging
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from saleops.services.cloud.answers import ApiError
from saleops.services.cloud.call_log import masked
from saleops.services.cloud.cloud_time import CloudTime
from saleops.services.cloud.edits import check_size, edit, wrong
from saleops.services.cloud.faults import FaultPlan
from saleops.services.cloud.hooks import HOOKS
from saleops.services.cloud.products import load_products
from saleops.services.cloud.setting_checks import settings_problems
from saleops.services.cloud.wire import WireRequest, WireResponse, query_pairs
from saleops.services.cloud.world import Thing

if TYPE_CHECKING:
    from saleops.services.cloud.core import LocalCloud

log = logging.getLogger("saleops.services.cloud")

CONTROL_PATH = "/_local"
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
CALLS_LIMIT = 1_000
PROBLEMS_TOLD = 20

Body = Mapping[str, Any]
Act = Callable[["LocalCloud", WireRequest, Body], Any]


class Control:
    def __init__(self, time: CloudTime) -> None:
        self._time = time
        self._acts: dict[tuple[str, str], Act] = {
            ("GET", "clock"): self._clock,
            ("POST", "clock"): self._advance,
            ("GET", "faults"): self._faults,
            ("PUT", "faults"): self._set_faults,
            ("DELETE", "faults"): self._clear_faults,
            ("GET", "calls"): self._calls,
            ("GET", "settings"): self._settings,
            ("PUT", "settings"): self._set_settings,
            ("POST", "edit"): self._edit,
            ("POST", "reset"): self._reset,
        }

    def handle(self, cloud: "LocalCloud", request: WireRequest) -> WireResponse:
        try:
            return _json(200, self._act(cloud, request))
        except ApiError as error:
            return _json(error.status, {"code": error.code, "message": error.message})
        except Exception:
            log.exception("control %s %s failed", request.method, request.path)
            return _json(500, {"code": "InternalError", "message": "A bug; see cloud.log."})

    def _act(self, cloud: "LocalCloud", request: WireRequest) -> Any:
        host = request.header("host").rpartition(":")[0] or request.header("host")
        if host not in LOOPBACK and request.header("host") not in LOOPBACK:
            raise ApiError(403, "NotLoopback", "The control API answers on loopback alone.")
        parts = [part for part in request.path.removeprefix(CONTROL_PATH).split("/") if part]
        name = parts[0] if parts else "health"
        if name == "health":
            return {"service": "saleops local cloud", "pid": os.getpid(), "region": cloud.region}
        given = request.header("authorization").removeprefix("Bearer ").strip()
        if not hmac.compare_digest(
            given.encode("utf-8", "surrogatepass"), cloud.key.secret.encode()
        ):
            raise ApiError(
                401, "Unauthorized", "Send the access key's secret as Authorization: Bearer."
            )
        if name == "state" and request.method == "GET":
            return self._state(cloud, parts[1:])
        if len(parts) != 1:
            raise _nothing_here()
        act = self._acts.get((request.method, name))
        if act is not None:
            return act(cloud, request, _document(request))
        load_products()  # they register the hooks
        if request.method == "POST" and name in HOOKS:
            return HOOKS[name](cloud.world, _document(request))
        if name in HOOKS or any(name == known for _, known in self._acts):
            raise ApiError(405, "WrongMethod", f"{name} does not take {request.method}.")
        raise _nothing_here()

    def _clock(self, cloud: "LocalCloud", request: WireRequest, body: Body) -> Any:
        return {"now_ms": self._time.now_ms(), "mode": self._time.mode, "speed": self._time.speed}

    def _advance(self, cloud: "LocalCloud", request: WireRequest, body: Body) -> Any:
        seconds = body.get("advance_s")
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            raise wrong("advance_s is a number of seconds")
        try:
            self._time.advance(seconds)
        except ValueError as error:
            raise wrong(f"advance_s: {error}") from None
        cloud.mark_changed()
        return self._clock(cloud, request, body)

    def _faults(self, cloud: "LocalCloud", request: WireRequest, body: Body) -> Any:
        return cloud.faults.plan

    def _set_faults(self, cloud: "LocalCloud", request: WireRequest, body: Body) -> Any:
        try:
            plan = msgspec.convert(dict(body), FaultPlan)
        except (msgspec.ValidationError, ValueError) as error:
            raise wrong(str(error)) from None
        cloud.faults.use(plan)
        return plan

    def _clear_faults(self, cloud: "LocalCloud", request: WireRequest, body: Body) -> Any:
        cloud.faults.use(FaultPlan())
        return cloud.faults.plan

    def _calls(self, cloud: "LocalCloud", request: WireRequest, body: Body) -> Any:
        asked = dict(query_pairs(request.query))
        since = _count(asked.get("since", "0"), "since")
        limit = _count(asked.get("limit", str(CALLS_LIMIT)), "limit")
        wanted = asked.get("request_id"), asked.get("api"), asked.get("writes", "").lower()
        found = [
            call
            for call in cloud.calls.calls
            if call["n"] > since
            and wanted[0] in (None, call["request_id"])
            and wanted[1] in (None, call["api"], f"{call['product']}.{call['api']}")
            and not (wanted[2] == "true" and (call.get("reads") or not call["api"]))
        ]
        return {"count": cloud.calls.count, "calls": found[:limit]}

    def _state(self, cloud: "LocalCloud", parts: list[str]) -> Any:
        world = cloud.world
        if not parts:
            return {
                kind: [{"id": one.id, "state": world.state(one)} for one in world.each(kind)]
                for kind in sorted(world.things)
            }
        if len(parts) == 1:
            return [self._shown(cloud, one) for one in world.each(parts[0])]
        thing = world.find(parts[0], "/".join(parts[1:]))
        if thing is None:
            raise _nothing_here()
        return self._shown(cloud, thing)

    def _shown(self, cloud: "LocalCloud", thing: Thing) -> dict[str, Any]:
        data = {} if thing.kind.startswith("sts-") else masked(thing.data)
        return {
            "kind": thing.kind,
            "id": thing.id,
            "state": cloud.world.state(thing),
            "born_ms": thing.born_ms,
            "gone_ms": thing.gone_ms,
            "data": data,
        }

    def _edit(self, cloud: "LocalCloud", request: WireRequest, body: Body) -> Any:
        kind, id, path = body.get("kind"), body.get("id"), body.get("path")
        if not isinstance(id, str) or not isinstance(path, str) or not path or "value" not in body:
            raise wrong("an edit has id, path, value, and kind where two things share an id")
        kinds = [kind] if isinstance(kind, str) else list(cloud.world.things)
        found = [thing for one in kinds if (thing := cloud.world.find(one, id)) is not None]
        if len(found) != 1:
            raise ApiError(404, "NotFound", f"{len(found)} things have the id {id[:100]!r}.")
        edit(found[0].data, path, body["value"])
        cloud.mark_changed()
        return self._shown(cloud, found[0])

    def _settings(self, cloud: "LocalCloud", request: WireRequest, body: Body) -> Any:
        return cloud.world.settings

    def _set_settings(self, cloud: "LocalCloud", request: WireRequest, body: Body) -> Any:
        check_size("the settings", body)
        merged = _merged(cloud.world.settings, body)
        if problems := settings_problems(merged):
            raise wrong("; ".join(problems[:PROBLEMS_TOLD]))
        cloud.world.settings.clear()
        cloud.world.settings.update(merged)
        cloud.mark_changed()
        return cloud.world.settings

    def _reset(self, cloud: "LocalCloud", request: WireRequest, body: Body) -> Any:
        cloud.reset()
        return {"reset": True}


def _document(request: WireRequest) -> Body:
    if not request.body:
        return {}
    try:
        document = json.loads(request.body, parse_constant=_no_constant)
        json.dumps(document, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise wrong(f"the body is not JSON: {error}"[:200]) from None
    if not isinstance(document, dict):
        raise wrong("the body is a JSON object")
    return document


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def _merged(old: Any, patch: Any) -> Any:
    """RFC 7396: objects merge, null removes, all else replaces."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(old) if isinstance(old, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merged(merged.get(name), value)
    return merged


def _count(text: str, name: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise wrong(f"{name} is a whole number")
    return int(text)


def _nothing_here() -> ApiError:
    return ApiError(404, "NotFound", "There is nothing here.")


def control_refusal(status: int, message: str) -> WireResponse:
    """For what went wrong after the act: the answer's code goes by its status."""
    return _json(
        status,
        {"code": "InsufficientStorage" if status == 507 else "InternalError", "message": message},
    )


def _json(status: int, document: Any) -> WireResponse:
    return WireResponse(
        status,
        (("content-type", "application/json"), ("cache-control", "no-store")),
        msgspec.json.encode(document),
    )
