"""JSON merge patch (RFC 7396) and JSON patch (RFC 6902) on documents; the originals stay as they are."""

from typing import Any

from saleops.services.kube_api.documents import copied
from saleops.services.kube_api.refusals import KubeError, bad_request


def merged(old: Any, patch: Any) -> Any:
    """RFC 7396: objects merge, null removes, everything else replaces."""
    if not isinstance(patch, dict):
        return copied(patch)
    result = dict(old) if isinstance(old, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def json_patched(document: Any, operations: Any) -> Any:
    """RFC 6902. Raises KubeError 400 for what is no patch, 422 where it does not fit the document."""
    if not isinstance(operations, list):
        raise bad_request("a JSON patch is a list of operations")
    result = copied(document)
    for operation in operations:
        if not isinstance(operation, dict) or not isinstance(operation.get("path"), str):
            raise bad_request("each operation of a JSON patch has op and path")
        result = _operated(result, operation)
    return result


def _operated(document: Any, operation: dict[str, Any]) -> Any:
    path = _pointer(operation["path"])
    match operation.get("op"):
        case "add":
            return _added(document, path, _value(operation))
        case "remove":
            return _removed(document, path)[0]
        case "replace":
            if not path:
                return copied(_value(operation))
            holder, key = _holder(document, path)
            _look(holder, key)
            holder[key] = copied(_value(operation))
            return document
        case "move":
            document, value = _removed(document, _pointer(_from(operation)))
            return _added(document, path, value)
        case "copy":
            return _added(document, path, _found(document, _pointer(_from(operation))))
        case "test":
            if _found(document, path) != _value(operation):
                raise _unfit(f"testing value {operation['path']} failed")
            return document
        case other:
            raise bad_request(f"unexpected kind of operation: {str(other)[:60]}")


def _value(operation: dict[str, Any]) -> Any:
    if "value" not in operation:
        raise bad_request(f"{operation.get('op')} has no value")
    return operation["value"]


def _from(operation: dict[str, Any]) -> str:
    where = operation.get("from")
    if not isinstance(where, str):
        raise bad_request(f"{operation.get('op')} has no from")
    return where


def _pointer(text: str) -> list[str]:
    if text == "":
        return []
    if not text.startswith("/"):
        raise bad_request(f"{text[:100]!r} is no JSON pointer")
    return [part.replace("~1", "/").replace("~0", "~") for part in text[1:].split("/")]


def _holder(document: Any, path: list[str]) -> tuple[Any, Any]:
    """What holds the last part of ``path``, and its key there."""
    for part in path[:-1]:
        document = _look(document, _key(document, part))
    return document, _key(document, path[-1])


def _key(holder: Any, part: str) -> Any:
    if isinstance(holder, list):
        if part == "-":
            return len(holder)
        if not (part.isascii() and part.isdigit()):
            raise _unfit(f"a list has no entry {part[:60]!r}")
        return int(part)
    return part


def _look(holder: Any, key: Any) -> Any:
    if isinstance(holder, list) and isinstance(key, int) and key < len(holder):
        return holder[key]
    if isinstance(holder, dict) and key in holder:
        return holder[key]
    raise _unfit(f"there is no {str(key)[:60]!r}")


def _found(document: Any, path: list[str]) -> Any:
    if not path:
        return document
    holder, key = _holder(document, path)
    return _look(holder, key)


def _added(document: Any, path: list[str], value: Any) -> Any:
    value = copied(value)
    if not path:
        return value
    holder, key = _holder(document, path)
    if isinstance(holder, list):
        if key > len(holder):
            raise _unfit(f"a list of {len(holder)} has no entry {key}")
        holder.insert(key, value)
    elif isinstance(holder, dict):
        holder[key] = value
    else:
        raise _unfit(f"there is nothing below {'/'.join(path[:-1])[:100]!r}")
    return document


def _removed(document: Any, path: list[str]) -> tuple[Any, Any]:
    if not path:
        raise _unfit("the document itself cannot be removed")
    holder, key = _holder(document, path)
    value = _look(holder, key)
    del holder[key]
    return document, value


def _unfit(why: str) -> KubeError:
    return KubeError(
        422,
        f"the server rejected our request due to an error in our request: {why}",
        reason="Invalid",
    )
