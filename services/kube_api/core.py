"""The API server: a request in, an answer out. Which resource, may they, what becomes of it.

    /version /livez /readyz           who runs here
    /api /apis ...                    discovery
    /api/v1/..., /apis/GROUP/VERSION/...   the objects
    /_local/...                       the hands of a rehearsal (control.py)

Everything happens under one lock: the server's loop and a test's thread may both call. Time that has passed is made up for before
each answer, so that what a caller reads is true now.
"""

import hmac
import logging
import threading
from collections.abc import Mapping
from typing import Any

from saleops.services.cloud.call_log import CallLog
from saleops.services.cloud.cloud_time import CloudTime
from saleops.services.kube_api.control import CONTROL_PATH, Control
from saleops.services.kube_api.controllers import Controllers
from saleops.services.kube_api.controllers.cluster_view import ClusterView
from saleops.services.kube_api.discovery import AUTHORIZATION, discovered
from saleops.services.kube_api.faults import Faults
from saleops.services.kube_api.kinds import NAMESPACES, Kinds
from saleops.services.kube_api.objects import Objects, Writer
from saleops.services.kube_api.refusals import KubeError, forbidden, no_such_path, unauthorized
from saleops.services.kube_api.settings import Settings
from saleops.services.kube_api.store import Store
from saleops.services.kube_api.timeline import Timeline
from saleops.services.kube_api.users import User
from saleops.services.kube_api.verbs import Target, Verbs
from saleops.services.kube_api.wire import Answer, Request, plain, refusal

log = logging.getLogger("saleops.services.kube_api")

FIRST_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")


class KubeApi:
    def __init__(
        self,
        time: CloudTime,
        *,
        users: Mapping[str, User],
        settings: Settings | None = None,
        faults: Faults | None = None,
        calls: CallLog | None = None,
    ) -> None:
        """``users`` are by their bearer token."""
        self.time = time
        self.users = dict(users)
        self.settings = settings or Settings()
        self.faults = faults or Faults()
        self.calls = calls or CallLog()
        self.lock = threading.RLock()
        self.kinds = Kinds()
        self.store = Store(past_max=self.settings.past_max)
        self.timeline = Timeline(time.now_ms())
        self.objects = Objects(self.store, self.kinds, lambda: self.timeline.now_ms)
        self.controllers = Controllers(ClusterView(self.objects, self.timeline, self.settings))
        self.verbs = Verbs(self)
        self.control = Control()
        self._make_namespaces()

    def catch_up(self) -> None:
        """Let everything happen that is due by now."""
        with self.lock:
            self.controllers.run_until(self.time.now_ms())

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` of virtual time pass, with all that happens in it."""
        with self.lock:
            self.controllers.run_until(self.time.now_ms())
            self.time.advance(seconds)
            self.controllers.run_until(self.time.now_ms())

    def reset(self) -> None:
        with self.lock:
            self.store.clear()
            self.controllers.forget()
            self._make_namespaces()

    def _make_namespaces(self) -> None:
        self.controllers.run_until(self.time.now_ms())
        for name in FIRST_NAMESPACES:
            document = {"metadata": {"name": name}}
            self.objects.create(NAMESPACES, "", document, Writer("kube-apiserver"))

    def handle(self, request: Request) -> Answer:
        with self.lock:
            return self._handle(request)

    def _handle(self, request: Request) -> Answer:
        if request.path.startswith(CONTROL_PATH):
            return self.control.handle(self, request)
        self.catch_up()
        entry: dict[str, Any] = {"method": request.method, "path": request.path}
        user: User | None = None
        try:
            target = None
            user = self.user_of(request)
            entry["user"] = user.name
            answered = self._outside(request)
            if answered is None:
                target = self.target_of(request)
                entry |= {"verb": target.verb, "resource": target.resource, "name": target.name,
                          "namespace": target.namespace}  # fmt: skip
                self._authorize(user, target)
                verdict = self.faults.decide(target)
                if verdict.name:
                    entry["fault"] = verdict.name
                if verdict.before is not None:
                    raise verdict.before
                answered = self.verbs.act(target, request, user)
                if verdict.after is not None:
                    raise verdict.after
                if verdict.lost or verdict.after_s:
                    answered = Answer(
                        answered.status,
                        answered.body,
                        answered.headers,
                        answered.watch,
                        verdict.after_s,
                        verdict.lost,
                    )
        except KubeError as error:
            answered = refusal(error)
            entry["reason"] = error.reason
            entry["message"] = error.message[:300]
        except Exception:
            log.exception("%s %s could not be answered", request.method, request.path)
            answered = refusal(
                KubeError(500, "Internal error occurred: a bug in this API; see its log")
            )
        finally:
            self.controllers.settle()
        entry["status"] = answered.status
        if query := request.query:
            entry["query"] = query[:300]
        self.calls.add(entry)
        return answered

    def user_of(self, request: Request) -> User:
        given = request.header("authorization")
        if not given:
            if request.path in ("/livez", "/readyz", "/healthz", "/version"):
                return User("system:anonymous", grants=())
            raise unauthorized()
        token = given.removeprefix("Bearer ").strip().encode("utf-8", "surrogatepass")
        for known, user in self.users.items():
            if hmac.compare_digest(token, known.encode()):
                return user
        raise unauthorized()

    def _authorize(self, user: User, target: Target) -> None:
        if target.kind.group == AUTHORIZATION:  # whoever has a name may ask what it may do
            return
        if not user.may(
            target.verb,
            target.kind.group,
            target.resource,
            namespace=target.namespace or "",
            name=target.name,
        ):
            raise forbidden(
                user.name,
                target.verb,
                target.kind.plural,
                target.kind.group,
                name=target.name,
                namespace=target.namespace or "",
                subresource=target.subresource,
            )

    def _outside(self, request: Request) -> Answer | None:
        """What is no object: health, version, discovery."""
        path = request.path.rstrip("/")
        if path in ("/livez", "/readyz", "/healthz") or path.startswith(("/livez/", "/readyz/")):
            return plain(200, "ok")
        return discovered(self.kinds, path, request)

    def target_of(self, request: Request) -> Target:
        """What ``request`` is about. Raises KubeError 404 for a path that is none of ours."""
        parts = [part for part in request.path.split("/") if part]
        if len(parts) >= 3 and parts[0] == "api" and parts[1] == "v1":
            group, version, rest = "", "v1", parts[2:]
        elif len(parts) >= 4 and parts[0] == "apis":
            group, version, rest = parts[1], parts[2], parts[3:]
        else:
            raise no_such_path()
        namespace: str | None = None
        if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in ("status", "finalize"):
            namespace, rest = rest[1], rest[2:]
        kind = self.kinds.at(group, version, rest[0])
        if kind is None or len(rest) > 3 or (namespace is not None and not kind.namespaced):
            return self.verbs.review_target(group, version, rest, request) or _lost()
        name = rest[1] if len(rest) > 1 else ""
        subresource = rest[2] if len(rest) > 2 else ""
        if name and kind.namespaced and namespace is None:
            raise no_such_path()
        if subresource and subresource not in (*kind.subresources, *_FINALIZE.get(kind.key, ())):
            raise no_such_path()
        return Target(kind, version, namespace, name, subresource, _verb(request, name))


_FINALIZE = {"namespaces": ("finalize",)}


def _lost() -> Target:
    raise no_such_path()


def _verb(request: Request, name: str) -> str:
    asked = request.asked()
    match request.method:
        case "GET" | "HEAD":
            if asked.get("watch", "").lower() in ("true", "1"):
                return "watch"
            return "get" if name else "list"
        case "POST":
            return "create"
        case "PUT":
            return "update"
        case "PATCH":
            return "patch"
        case "DELETE":
            return "delete" if name else "deletecollection"
        case _:
            raise KubeError(405, "the server does not allow this method on the requested resource")
