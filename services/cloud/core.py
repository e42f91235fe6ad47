"""The local cloud: one request in, one answer out, in one thread.

route -> who signed it -> throttled or failing on purpose -> every parameter checked -> idempotency token -> the product's
answerer -> saved -> logged -> answered. A refusal of the first three comes from the gateway and is spelled as RPC; later
ones are the product's own. What changed is on the disk before the answer leaves.
"""

import json
import logging
import secrets
from collections.abc import Callable
from typing import Any

from saleops.cloudapi import Api
from saleops.cloudapi.checks import common_of, problems
from saleops.cloudapi.problem import Problem
from saleops.cloudapi.wire import parse
from saleops.errors import UpstreamError
from saleops.services.cloud.answers import ANSWERERS, ApiError, LocalCall
from saleops.services.cloud.call_log import CallLog, masked
from saleops.services.cloud.cloud_time import wall_ms as machine_wall_ms
from saleops.services.cloud.control import CONTROL_PATH, Control, control_refusal
from saleops.services.cloud.faults import Faults, Verdict
from saleops.services.cloud.idempotency import digest_of, token_of
from saleops.services.cloud.products import load_product
from saleops.services.cloud.products.sts import SESSION, session_key
from saleops.services.cloud.saving import TokenUse
from saleops.services.cloud.signatures import Key, Verifier
from saleops.services.cloud.wire import (
    BODY_MAX,
    FORM,
    Routed,
    WireRequest,
    WireResponse,
    answer,
    refusal,
    route,
)
from saleops.services.cloud.world import World

log = logging.getLogger("saleops.services.cloud")

TOKEN_LIFE_MS = 24 * 3_600_000
TOKEN_MAX = 64
PROBLEMS_TOLD = 50
NO_ROOM = "InsufficientStorage"
"""HTTP 507: the machine's disk takes no more."""
GONE_KEPT_MS = 24 * 3_600_000


class LocalCloud:
    """``handle`` answers one request; it never raises and is called from one thread."""

    def __init__(
        self,
        world: World,
        *,
        key: Key,
        region: str,
        control: Control | None = None,
        faults: Faults | None = None,
        calls: CallLog | None = None,
        save: Callable[["LocalCloud"], None] | None = None,
        undo: Callable[["LocalCloud"], None] | None = None,
        wall_ms: Callable[[], int] = machine_wall_ms,
        tokens: dict[str, TokenUse] | None = None,
    ) -> None:
        """``save`` puts the world where it outlives this process, ``undo`` brings back what was saved last. ``wall_ms`` is
        the machine's clock, which signatures go by."""
        self.world = world
        self.key = key
        self.region = region
        self.faults = faults or Faults(now_ms=world.now_ms)
        self.calls = calls or CallLog()
        self.tokens = tokens if tokens is not None else {}
        self.wall_ms = wall_ms
        self._control = control
        self._save = save
        self._undo = undo
        self._verifier = Verifier(self._key_of, wall_ms=wall_ms)
        self._dirty = False
        world.changed = self.mark_changed

    def mark_changed(self) -> None:
        self._dirty = True

    def _key_of(self, key_id: str) -> Key | None:
        if key_id == self.key.id:
            return self.key
        session = self.world.find(SESSION, key_id)
        return session_key(session) if session is not None else None

    def handle(self, request: WireRequest) -> WireResponse:
        request_id = _request_id()
        if request.path == CONTROL_PATH or request.path.startswith(CONTROL_PATH + "/"):
            if self._control is None:
                return refusal(None, _no_control(), request_id=request_id, host="")
            return self._controlled(self._control, request, request_id)
        work = _Work(request, request_id)
        response = self._answered(work)
        try:
            self.save_if_changed()
        except Exception as error:  # noqa: BLE001  # whatever the disk said, the caller must not believe in the change
            response = self._not_saved(work, error)
        self._log(work, response)
        return response

    def _controlled(self, control: Control, request: WireRequest, request_id: str) -> WireResponse:
        try:
            response = control.handle(self, request)
            self.save_if_changed()
        except Exception as error:  # noqa: BLE001  # as with a call: what cannot be saved did not happen
            refused = self._not_saved(_Work(request, request_id), error)
            return control_refusal(refused.status, self._why_not_saved(error))
        return response

    def _not_saved(self, work: "_Work", error: Exception) -> WireResponse:
        """The refusal of a change that could not be saved; it is undone, so the next request finds a world that can be."""
        if self._undo is not None:
            try:
                self._undo(self)
                self._dirty = False
            except Exception as again:  # noqa: BLE001  # then the next request tries to save once more
                log.error("what was saved last cannot be read: %s", again)
        if not isinstance(error, UpstreamError):
            return self._bug(work, error)
        log.error("request %s was undone: %s", work.request_id, error.message)
        work.outcome = NO_ROOM
        refused = ApiError(507, NO_ROOM, self._why_not_saved(error))
        return refusal(
            work.api, refused, request_id=work.request_id, host=work.host, at_gateway=True
        )

    def _why_not_saved(self, error: Exception) -> str:
        if isinstance(error, UpstreamError):
            return f"{error.message}; the change was undone"
        return "A bug: the change could not be saved and was undone; see cloud.log."

    def _answered(self, work: "_Work") -> WireResponse:
        try:
            return self._steps(work)
        except ApiError as error:
            work.outcome = error.code
            return refusal(
                work.api,
                error,
                request_id=work.request_id,
                host=work.host,
                at_gateway=work.at_gateway,
            )
        except Exception as error:  # noqa: BLE001  # a bug of a product's is answered and logged
            return self._bug(work, error)

    def _bug(self, work: "_Work", error: Exception) -> WireResponse:
        log.error("request %s (%s) failed", work.request_id, work.api, exc_info=error)
        work.outcome = "InternalError"
        text = "The request processing has failed due to some unknown error, exception or failure."
        bug = ApiError(500, "InternalError", text)
        return refusal(work.api, bug, request_id=work.request_id, host=work.host, at_gateway=True)

    def _steps(self, work: "_Work") -> WireResponse:
        if len(work.request.body) > BODY_MAX:
            raise ApiError(
                413, "RequestEntityTooLarge", f"A request may have {BODY_MAX} bytes of body."
            )
        routed = route(work.request)
        work.api = api = routed.api
        key = self._verifier.verify(work.request, routed)
        verdict = self.faults.decide(api)
        work.fault = verdict
        if verdict.before is not None:
            raise verdict.before
        work.at_gateway = False
        call = self._checked(work, routed, key)
        document = self._once(call, verdict)
        work.outcome = "OK"
        response = answer(api, document, request_id=work.request_id)
        if verdict.after is not None:
            work.outcome = verdict.after.code
            response = refusal(
                api, verdict.after, request_id=work.request_id, host=work.host, at_gateway=True
            )
        if verdict.lost or verdict.after_ms:
            return WireResponse(
                response.status, response.headers, response.body, verdict.lost, verdict.after_ms
            )
        return response

    def _checked(self, work: "_Work", routed: Routed, key: Key) -> LocalCall:
        """``routed`` with its values. Raises ApiError that names every bad field."""
        api = routed.api
        common = common_of(api)
        fields = {
            name: text
            for name, text in routed.fields.items()
            if name in api.params or name not in common
        }
        params, found = parse(api, fields)
        body = _body_of(api, work.request)
        work.params, work.path, work.body = params, dict(routed.path), body
        seen = {one.where for one in found}
        checks = problems(api, params=params, path=routed.path, body=body)
        found += (one for one in checks if one.where not in seen)
        if found:
            raise _invalid(found)
        region = params.get("RegionId") or routed.fields.get("RegionId") or self.region
        return LocalCall(
            api=api,
            region=str(region),
            params=params,
            path=routed.path,
            body=body,
            request_id=work.request_id,
            account=self.world.account,
            key_id=key.id,
            wall_ms=self.wall_ms(),
        )

    def _once(self, call: LocalCall, verdict: Verdict) -> Any:
        """The answer to ``call``, given once for each idempotency token."""
        load_product(call.api.product.code)
        answerer = ANSWERERS.get((call.api.product.code, call.api.name))
        if answerer is None:
            raise ApiError(
                404,
                "InvalidAction.NotFound",
                f"Specified api is not found: the local cloud does not answer {call.api.name}.",
            )
        token = token_of(call)
        if not token:
            return answerer(call, self.world)
        if len(token) > TOKEN_MAX or not token.isascii():
            raise ApiError(
                400,
                f"InvalidParameter.{call.api.token.rpartition('.')[2]}",
                f"{call.api.token} has at most {TOKEN_MAX} ASCII characters.",
            )
        name = f"{call.account} {call.api.product.code} {call.api.name} {token}"
        digest = digest_of(call)
        used = self.tokens.get(name)
        if used is not None and call_age_ms(self.world, used) < TOKEN_LIFE_MS:
            if used.digest != digest:
                raise ApiError(
                    400,
                    "IdempotentParameterMismatch",
                    "The request uses the same client token as a previous, but non-identical request.",
                )
            if used.busy_until_ms > self.wall_ms():
                raise ApiError(
                    409,
                    "LastTokenProcessing",
                    "The last token request is processing, please try again later.",
                )
            return used.document
        document = answerer(call, self.world)
        busy_until_ms = self.wall_ms() + round(verdict.after_ms) if verdict.after_ms else 0
        self.tokens[name] = TokenUse(digest, document, self.world.now_ms(), busy_until_ms)
        self._dirty = True
        return document

    def save_if_changed(self) -> None:
        """Let what changed outlive this process."""
        if not self._dirty:
            return
        self._forget()
        if self._save is not None:
            self._save(self)
        self._dirty = False

    def _forget(self) -> None:
        """Drop what nobody can ask for any more: old tokens, and things that are long gone."""
        now_ms = self.world.now_ms()
        for name in [n for n, use in self.tokens.items() if now_ms - use.at_ms >= TOKEN_LIFE_MS]:
            del self.tokens[name]
        for things in self.world.things.values():
            gone = [
                id
                for id, thing in things.items()
                if thing.gone_ms is not None and now_ms - thing.gone_ms > GONE_KEPT_MS
            ]
            for id in gone:
                del things[id]

    def reset(self) -> None:
        """Forget everything but the keys; ids go on counting, so that no old id means a new thing."""
        self.world.things.clear()
        self.world.settings.clear()
        self.tokens.clear()
        self.calls.clear()
        self._dirty = True

    def _log(self, work: "_Work", response: WireResponse) -> None:
        entry: dict[str, Any] = {
            "at_ms": self.world.now_ms(),
            "wall_ms": self.wall_ms(),
            "product": work.api.product.code if work.api else "",
            "api": work.api.name if work.api else "",
            "method": work.request.method,
            "status": response.status,
            "outcome": work.outcome,
            "request_id": work.request_id,
            "params": masked(work.params),
        }
        if work.api is None:
            entry["target"] = work.request.path[:200]
        if work.path:
            entry["path"] = masked(work.path)
        if work.body is not None:
            entry["body"] = masked(work.body)
        if work.fault is not None and work.fault.name:
            entry["fault"] = work.fault.name
        if work.api is not None and work.api.reads:
            entry["reads"] = True
        try:
            self.calls.add(entry)
        except OSError as error:  # a full disk must not take the cloud down with its log
            log.error("the call log cannot be written: %s", error)


class _Work:
    """One request on its way through."""

    def __init__(self, request: WireRequest, request_id: str) -> None:
        self.request = request
        self.request_id = request_id
        self.host = request.header("host")[:200] or "127.0.0.1"
        self.api: Api | None = None
        self.at_gateway = True
        self.fault: Verdict | None = None
        self.outcome = ""
        self.params: dict[str, Any] = {}
        self.path: dict[str, str] = {}
        self.body: Any = None


def call_age_ms(world: World, used: TokenUse) -> int:
    return world.now_ms() - used.at_ms


def _request_id() -> str:
    text = secrets.token_hex(16).upper()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def _no_control() -> ApiError:
    return ApiError(404, "NotFound", "This cloud has no control API.")


def _body_of(api: Api, request: WireRequest) -> Any:
    """The JSON document of a ROA call; None without one. Raises ApiError when it is no JSON."""
    if not request.body:
        return None
    if not api.path:
        if request.content_type == FORM:
            return None  # its fields are parameters, and have been read
        raise ApiError(
            400,
            "UnsupportedContentType",
            f"{api.name} takes its parameters in the query or in a form, not as "
            f"{request.content_type[:60] or 'a body without a type'}.",
        )
    try:
        document = json.loads(request.body, parse_constant=_no_constant)
        json.dumps(document, ensure_ascii=False).encode()  # lone surrogates are no text
    except (ValueError, RecursionError) as error:
        raise ApiError(
            400, "InvalidParameter.Body", f"The body is not JSON: {error}."[:300]
        ) from None
    return document


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def _invalid(found: list[Problem]) -> ApiError:
    """One refusal that names every bad field; its code is of the first."""
    first = found[0]
    name = first.where.rpartition(".")[2] if first.code == "missing" else first.where
    if first.code == "missing":
        code = f"Missing{name}" if name[:1].isupper() else f"MissingParameter.{name}"
    elif first.code == "unknown":
        code = f"UnknownParameter.{name}"
    else:
        code = f"InvalidParameter.{name}"
    told = "; ".join(str(one) for one in found[:PROBLEMS_TOLD])
    more = f"; and {len(found) - PROBLEMS_TOLD} more" if len(found) > PROBLEMS_TOLD else ""
    return ApiError(400, code, f"{told}{more}")
