"""How the API says no: a ``Status`` document with the reason, code and details that Kubernetes' own servers give."""

from collections.abc import Sequence
from typing import Any

_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
    409: "Conflict",
    410: "Expired",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


class KubeError(Exception):
    def __init__(
        self,
        code: int,
        message: str,
        *,
        reason: str | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = _REASONS.get(code, "") if reason is None else reason
        self.details = details or {}

    @property
    def retry_after_s(self) -> int:
        return int(self.details.get("retryAfterSeconds") or 0)

    def status(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            document["reason"] = self.reason
        if self.details:
            document["details"] = self.details
        document["code"] = self.code
        return document


def success(details: dict[str, Any] | None = None) -> dict[str, Any]:
    document: dict[str, Any] = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
    }
    if details:
        document["details"] = details
    return document


def qualified(plural: str, group: str) -> str:
    return f"{plural}.{group}" if group else plural


def _details(plural: str, group: str, name: str) -> dict[str, Any]:
    found = {"name": name, "group": group, "kind": plural}
    return {key: value for key, value in found.items() if value}


def not_found(plural: str, group: str, name: str) -> KubeError:
    return KubeError(
        404,
        f'{qualified(plural, group)} "{name}" not found',
        details=_details(plural, group, name),
    )


def no_such_path() -> KubeError:
    return KubeError(404, "the server could not find the requested resource")


def already_exists(plural: str, group: str, name: str) -> KubeError:
    return KubeError(
        409,
        f'{qualified(plural, group)} "{name}" already exists',
        reason="AlreadyExists",
        details=_details(plural, group, name),
    )


def conflict(plural: str, group: str, name: str, why: str = "") -> KubeError:
    why = why or (
        "the object has been modified; please apply your changes to the latest version and try again"
    )
    return KubeError(
        409,
        f'Operation cannot be fulfilled on {qualified(plural, group)} "{name}": {why}',
        details=_details(plural, group, name),
    )


def invalid(kind: str, group: str, name: str, problems: Sequence[tuple[str, str]]) -> KubeError:
    """``problems`` are (field, what is wrong with it)."""
    said = [f"{field}: {text}" for field, text in problems]
    text = said[0] if len(said) == 1 else "[" + ", ".join(said) + "]"
    causes = [
        {"reason": "FieldValueInvalid", "message": text, "field": field} for field, text in problems
    ]
    return KubeError(
        422,
        f'{qualified(kind, group)} "{name}" is invalid: {text}',
        details={**_details(kind, group, name), "causes": causes},
    )


def bad_request(message: str) -> KubeError:
    return KubeError(400, message)


def forbidden(
    user: str, verb: str, plural: str, group: str, *, name: str, namespace: str, subresource: str
) -> KubeError:
    resource = f"{plural}/{subresource}" if subresource else plural
    named = f' "{name}"' if name else ""
    scope = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
    return KubeError(
        403,
        f'{qualified(plural, group)}{named} is forbidden: User "{user}" cannot {verb} resource "{resource}" '
        f'in API group "{group}" {scope}',
        details=_details(plural, group, name),
    )


def forbidden_by(plural: str, group: str, name: str, why: str) -> KubeError:
    """Not the authorizer but the API itself refuses."""
    return KubeError(
        403,
        f'{qualified(plural, group)} "{name}" is forbidden: {why}',
        details=_details(plural, group, name),
    )


def unauthorized() -> KubeError:
    return KubeError(401, "Unauthorized")


def expired(resource_version: str, oldest: int) -> KubeError:
    return KubeError(410, f"too old resource version: {resource_version} ({oldest})")


def ownership_conflict(causes: Sequence[tuple[str, str, str]]) -> KubeError:
    """``causes`` are (manager, its api version, field path): what server-side apply says without force."""
    listed = [
        {
            "reason": "FieldManagerConflict",
            "message": f'conflict with "{manager}"' + (f" using {version}" if version else ""),
            "field": field,
        }
        for manager, version, field in causes
    ]
    owners = {(manager, version) for manager, version, _ in causes}
    if len(listed) == 1:
        manager, version, field = causes[0]
        using = f" using {version}" if version else ""
        text = f'Apply failed with 1 conflict: conflict with "{manager}"{using}: {field}'
    else:
        text = (
            f"Apply failed with {len(listed)} conflicts: "
            + "conflicts with "
            + ", ".join(
                f'"{manager}"'
                + (f" using {version}" if version else "")
                + ":\n"
                + "\n".join(
                    f"- {field}" for one, its, field in causes if (one, its) == (manager, version)
                )
                for manager, version in sorted(owners)
            )
        )
    return KubeError(409, text, details={"causes": listed})
