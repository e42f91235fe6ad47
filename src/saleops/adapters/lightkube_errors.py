"""The Kubernetes API's refusals and the network's failures, as our ClusterError, with what to do next."""

from collections.abc import Mapping
from typing import Any

from saleops.errors import ClusterError, ClusterErrorKind

_KINDS: dict[int, ClusterErrorKind] = {
    401: "unauthenticated",
    403: "denied",
    404: "missing",
    409: "conflict",
    410: "failed",
    422: "invalid",
    429: "throttled",
    500: "unknown",
    502: "unknown",
    503: "busy",
    504: "unknown",
}


def error_from_status(
    doing: str, status: int, document: Any, headers: Mapping[str, str], *, cluster: str
) -> ClusterError:
    """``doing`` is what we were at: "scaling Deployment shop/order"."""
    said = document if isinstance(document, Mapping) else {}
    reason = said.get("reason") if isinstance(said.get("reason"), str) else ""
    message = said.get("message") if isinstance(said.get("message"), str) else ""
    message = " ".join(str(message or f"HTTP {status}").split())[:600]
    message += "".join(f" {text}" for text in _causes(said) if text not in message)
    kind = _KINDS.get(status) or ("unknown" if status >= 500 else "invalid")
    if reason == "AlreadyExists":
        kind = "exists"
    return ClusterError(
        f"{doing}: {message}{_outcome(kind)}",
        kind=kind,
        reason=str(reason),
        status=status,
        retry_after_s=_retry_after_s(said, headers),
        hint=_hint(kind, cluster),
    )


def _outcome(kind: ClusterErrorKind) -> str:
    if kind == "unknown":
        return "; nobody knows whether it was carried out"
    return ""


def _causes(said: Mapping[str, Any]) -> list[str]:
    """What a disruption budget adds to its refusal. Other causes are in the message already."""
    details = said.get("details")
    causes = details.get("causes") if isinstance(details, Mapping) else None
    return [
        " ".join(str(one.get("message")).split())[:300]
        for one in (causes if isinstance(causes, list) else [])[:3]
        if isinstance(one, Mapping) and one.get("reason") == "DisruptionBudget"
    ]


def _retry_after_s(said: Mapping[str, Any], headers: Mapping[str, str]) -> float | None:
    text = headers.get("retry-after", "")
    if text.isascii() and text.isdigit():
        return float(text)
    details = said.get("details")
    found = details.get("retryAfterSeconds") if isinstance(details, Mapping) else None
    return float(found) if isinstance(found, int) and found > 0 else None


def _hint(kind: ClusterErrorKind, cluster: str) -> str | None:
    match kind:
        case "unauthenticated":
            return (
                "The token or certificate is not valid, or no longer. Get a new kubeconfig "
                "(`aliyun cs GET /k8s/CLUSTER_ID/user_config`) or log in again."
            )
        case "denied":
            return "Have that verb granted for that resource; `kubectl auth can-i --list` shows what you have."
        case "conflict":
            return "Somebody else changed it meanwhile. Look again, then run the same command."
        case "throttled" | "busy":
            return "The API server is busy. Run the same command again in a while."
        case "unknown":
            return "Run the same command again: it looks first."
        case _:
            return None


def error_from_network(doing: str, error: Exception, *, cluster: str) -> ClusterError:
    """``error`` is what the HTTP client raised: no answer arrived."""
    import httpx2

    never_sent = isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout)
    text = " ".join(str(error).split())[:300] or type(error).__name__
    if isinstance(error, httpx2.TimeoutException):
        text = "no answer in time"
    if never_sent:
        hint = (
            "Is the address in the kubeconfig right, and this machine on a network that reaches it?"
        )
        if "CERTIFICATE_VERIFY_FAILED" in text or "certificate" in text.lower():
            hint = "The API's certificate is not signed by the authority that the kubeconfig names."
        return ClusterError(
            f"{doing}: {cluster} cannot be reached: {text}", kind="unreachable", hint=hint
        )
    return ClusterError(
        f"{doing}: {cluster} did not answer: {text}; nobody knows whether it was carried out",
        kind="unknown",
        hint="Run the same command again: it looks first.",
    )
