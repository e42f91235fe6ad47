"""What the cloud or its SDK says when a call fails, as one CloudError: what may be done, in whose words, with which hint.

The documents come in several spellings (Code, code; RequestId, requestId, request_id), and RocketMQ, MSE and billing say
``success: false`` with HTTP 200. The SDK tells a failed connection from a broken answer by nothing but the exception inside its
own; whether the request had left by then decides if it may be sent again. Texts are cleaned: the answer to a wrong
signature quotes the whole request, and an exception of the HTTP client its URL.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from saleops.domain.cloud.calls import Call
from saleops.errors import CloudError, CloudErrorKind

_BUSY = (
    "OperationConflict",
    "TaskConflict",
    "SystemBusy",
    "IncorrectStatus",
    "IncorrectVpcStatus",
    "IncorrectVSwitchStatus",
    "IncorrectEipStatus",
    "IncorrectDBInstanceState",
    "LastTokenProcessing",
    "IdempotentTokenProcessing",
    "IdempotenceProcessing",
    "OperationDenied.DBClusterStatus",
    "TaskExists",
    "DependencyViolation",
)
"""Codes, or their parts, that say: not now. The thing is changing, or what hangs on it is still leaving."""

_KEY = ("InvalidAccessKeyId", "IncompleteSignature", "SignatureDoesNotMatch", "InvalidCredentials")
_TOKEN = ("InvalidSecurityToken", "SecurityTokenExpired", "SecurityToken.Expired")
_CLOCK = ("InvalidTimeStamp", "SignatureExpired")
_RIGHTS = ("NoPermission", "Forbidden", "AccessDenied", "Unauthorized", "StatusForbidden")
_STOCK = (
    "OutOfStock",
    "NoStock",
    "SoldOut",
    "NotOnSale",
    "ResourceNotAvailable",
    "InsufficientStock",
)
_QUOTA = ("Quota", "LimitExceed", "ExceedLimit", "ExceededLimit", "LimitedExceed")
_MONEY = ("InsufficientBalance", "NotEnoughBalance", "Arrearage", "Payment")
_SECRET_PARAMS = re.compile(r"password|secret|token|privatekey", re.IGNORECASE)
_ACCESS_KEY = re.compile(r"\b(LTAI|STS\.|TMP\.)[A-Za-z0-9]{4,}")


def refusal_in(call: Call, document: Any, status: int) -> CloudError | None:
    """The error inside an answer that came with HTTP ``status`` below 400; None where it is none."""
    if not isinstance(document, Mapping):
        return None
    success = document.get("success", document.get("Success"))
    if success is False or (isinstance(success, str) and success.lower() == "false"):
        inner = document.get("httpStatusCode") or document.get("HttpStatusCode")
        return error_of(call, document, status=inner if isinstance(inner, int) else status)
    return None


def error_of(
    call: Call, document: Mapping[str, Any], *, status: int, retry_after_s: float | None = None
) -> CloudError:
    """The error that ``document`` tells of, in whichever spelling."""
    code = _first(document, "Code", "code", "errorCode")
    said = _first(document, "Message", "message", "errorMessage", "dynamicMessage")
    request_id = _first(document, "RequestId", "requestId", "request_id", "Request_Id")
    if retry_after_s is not None:
        kind: CloudErrorKind = "throttled"
    else:
        kind = kind_of(code, said, status)
    if _is(code, "SignatureDoesNotMatch", "IncompleteSignature"):
        said = "the signature is not what the cloud calculated"  # its own text quotes the request
    said = _clean(said, call).rstrip(".") or f"refused with HTTP {status}"
    where = ", ".join(
        part for part in (code, f"request {request_id}" if request_id else "") if part
    )
    return CloudError(
        f"{call}: {said}" + (f" ({where})" if where else f" (HTTP {status})"),
        kind=kind,
        code=code,
        request_id=request_id,
        status=status,
        retry_after_s=retry_after_s,
        hint=_hint(call, kind, code, document),
    )


def kind_of(code: str, said: str, status: int) -> CloudErrorKind:
    """What may be done about ``code``. The order matters: "TaskExists" is busy, "InvalidAccessKeyId.NotFound" denied."""
    if "throttling" in code.lower() or "QPS Limit Exceeded" in f"{code} {said}" or status == 429:
        return "throttled"
    if _is(code, "ServiceBusy"):
        return "throttled"
    if _is(code, *_BUSY):
        return "busy"
    if status == 507:  # the local cloud's: its disk took no more, and it has undone what was asked
        return "failed"
    if status >= 500:
        return "unknown"
    if _is(code, *_KEY, *_TOKEN, *_CLOCK) or status == 401:
        return "denied"
    if _is(code, "IdempotentParameterMismatch", "InvalidAction", "InvalidApi", "InvalidVersion"):
        return "invalid"
    if "NotFound" in code or "NotExist" in code or (not code and status == 404):
        return "missing"
    if (
        "AlreadyExist" in code
        or "Duplicate" in code
        or code.endswith(("Exist", "Exists", "Existed"))
    ):
        return "exists"
    if _is(code, *_STOCK, *_QUOTA):
        return "quota"
    if _is(code, *_RIGHTS) or status == 403:
        return "denied"
    if _is(code, *_MONEY):
        return "failed"
    if status == 400 and code.startswith(("Invalid", "Missing", "Illegal", "Unsupported", "Param")):
        return "invalid"
    return "missing" if status == 404 else "failed"


def _is(code: str, *parts: str) -> bool:
    return any(part in code for part in parts)


def _hint(call: Call, kind: CloudErrorKind, code: str, document: Mapping[str, Any]) -> str | None:
    detail = document.get("AccessDeniedDetail") or document.get("accessDeniedDetail") or {}
    if _is(code, "InvalidAccessKeyId"):
        return "The access key is unknown, disabled or deleted: `saleops doctor --cloud` says which one is used."
    if _is(code, "SignatureDoesNotMatch", "IncompleteSignature"):
        return (
            "The access key's secret is wrong: `saleops doctor --cloud` says where it comes from."
        )
    if _is(code, *_TOKEN):
        return "The session token has expired or is another key's: `aliyun configure`, or renew the ALIBABA_CLOUD_* variables."
    if _is(code, *_CLOCK):
        return "This machine's clock is wrong: `saleops doctor --cloud` says by how much; set it (`chronyc makestep`)."
    if kind == "denied":
        action = detail.get("AuthAction") if isinstance(detail, Mapping) else None
        missing = f"the RAM action {action}" if action else f"the right to call {call}"
        return f"Grant {missing}; `saleops provision policy SALE` prints all that is needed."
    if _is(code, *_STOCK):
        return "Sold out there: name other instance types or zones in the profile, then run the command again."
    if kind == "quota":
        return "Ask for more in Quota Center, or delete what is not needed; then run the command again."
    if _is(code, *_MONEY):
        return "The account has no money for it: top it up, then run the command again."
    if kind in ("throttled", "busy"):
        return "Nothing was done by this call: run the same command again in a minute."
    if kind == "unknown":
        return (
            "It may or may not have been carried out: run the same command again, it looks first."
        )
    return None


# -- the SDK's exceptions ------------------------------------------------------------------------------------


def error_from_sdk(call: Call, error: BaseException, host: str) -> CloudError:
    """``error`` as the SDK raised it while it sent ``call`` to ``host``."""
    from alibabacloud_credentials.exceptions import CredentialException
    from alibabacloud_tea_openapi.exceptions import AlibabaCloudException

    if isinstance(error, AlibabaCloudException):
        data = error.data if isinstance(error.data, Mapping) else {}
        wait_ms = error.retry_after
        return error_of(
            call,
            data,
            status=int(error.status_code or data.get("statusCode") or 0),
            retry_after_s=wait_ms / 1000 if wait_ms else None,
        )
    inner = getattr(error, "inner_exception", None) or error
    if isinstance(inner, CredentialException):
        return CloudError(
            f"{call}: the credentials could not be renewed; it was not sent",
            kind="denied",
            hint="`saleops doctor --cloud` says where they come from.",
        )
    return _no_answer(call, host, inner)


def _no_answer(call: Call, host: str, error: BaseException) -> CloudError:
    """Whether ``call`` had left when the connection failed, told by the exceptions inside ``error``."""
    import ssl

    from requests import exceptions as http
    from urllib3 import exceptions as pool

    causes = list(_causes(error))
    if any(isinstance(one, ssl.SSLCertVerificationError) for one in causes):
        return CloudError(
            f"{call}: {host} shows a certificate that this machine does not trust; nothing was sent",
            kind="failed",
            hint="Behind a proxy that opens TLS, name its authority: REQUESTS_CA_BUNDLE=/path/ca.pem",
        )
    if any(isinstance(one, http.ProxyError | pool.ProxyError) for one in causes):
        return CloudError(
            f"{call}: the proxy in HTTPS_PROXY or HTTP_PROXY lets nobody through to {host}; it was not sent",
            kind="busy",
            hint="Unset the variable, or name the host in NO_PROXY.",
        )
    not_sent = (http.ConnectTimeout, pool.NewConnectionError, pool.ConnectTimeoutError)
    if any(isinstance(one, not_sent) for one in causes):
        why = "took too long to accept" if _any(causes, http.ConnectTimeout) else "refused"
        if _any(causes, pool.NameResolutionError):
            return CloudError(
                f"{call}: nobody knows the host {host}; it was not sent",
                kind="busy",
                hint="Is the region spelled right, and is there a network? `saleops doctor --cloud` looks at each endpoint.",
            )
        return CloudError(
            f"{call}: {host} {why} the connection; it was not sent",
            kind="busy",
            hint="`saleops doctor --cloud` looks at each endpoint.",
        )
    if _any(causes, http.ReadTimeout, pool.ReadTimeoutError):
        what = "did not answer in time"
    elif _any(causes, http.RequestException, OSError):
        what = "dropped the connection before it answered"
    else:
        what = "answered what is no JSON document of an API"
    return CloudError(
        f"{call}: {host} {what}; nobody knows whether it was carried out",
        kind="unknown",
        hint="Run the same command again: it looks first.",
    )


def _any(causes: list[BaseException], *types: type[BaseException]) -> bool:
    return any(isinstance(one, types) for one in causes)


def _causes(error: BaseException | None) -> Iterable[BaseException]:
    """``error`` and all it wraps: causes, contexts, urllib3's ``reason``, exceptions among its arguments."""
    seen: list[BaseException] = []
    open_ones = [error]
    while open_ones:
        one = open_ones.pop()
        if not isinstance(one, BaseException) or any(one is other for other in seen):
            continue
        seen.append(one)
        open_ones += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
    return seen


# -- texts ---------------------------------------------------------------------------------------------------


def _first(document: Mapping[str, Any], *names: str) -> str:
    for name in names:
        value = document.get(name)
        if value is not None and value != "":
            return str(value)
    return ""


def _clean(text: str, call: Call) -> str:
    """``text`` without line breaks, access keys and what ``call`` carries in secret."""
    for secret in _secrets(call.params) | _secrets(call.body):
        text = text.replace(secret, "***")
    return " ".join(_ACCESS_KEY.sub("***", text).split())


def _secrets(value: Any) -> set[str]:
    if isinstance(value, list | tuple):
        return set().union(*(_secrets(one) for one in value))
    if not isinstance(value, Mapping):
        return set()
    found: set[str] = set()
    for name, one in value.items():
        if isinstance(one, str) and one and _SECRET_PARAMS.search(str(name)):
            found.add(one)
        else:
            found |= _secrets(one)
    return found
