"""Refusals that products share: each names the field and the value that was wrong, as the real messages do."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from saleops.services.cloud.answers import ApiError, LocalCall

_NAME = re.compile(r"(?!https?://)[A-Za-z\u4e00-\u9fff][\w.:\-\u4e00-\u9fff]*\Z")


def missing(code: str, field: str, value: Any) -> ApiError:
    return ApiError(404, code, f"The specified {field} {value!r} does not exist.")


def wrong(code: str, field: str, value: Any, why: str) -> ApiError:
    return ApiError(400, code, f"The specified {field} {value!r} is not valid: {why}.")


def needed(field: str, why: str = "") -> ApiError:
    return ApiError(
        400,
        f"MissingParameter.{field}" if "." not in field else "MissingParameter",
        f"The parameter {field} is mandatory for this action{f': {why}' if why else ''}.",
    )


def stop_dry_run(call: LocalCall) -> None:
    """Called when every check has passed: a dry run answers with an error then, and changes nothing."""
    if call.params.get("DryRun"):
        raise ApiError(
            400, "DryRunOperation", "Request validation has been passed with DryRun flag set."
        )


def check_name(
    call: LocalCall,
    field: str,
    *,
    code: str,
    shortest: int = 2,
    longest: int = 128,
    any_start: bool = False,
) -> None:
    """A name's length, and that it starts with a letter where the API wants that."""
    name = call.params.get(field)
    if name is None or name == "":
        return
    if not shortest <= len(name) <= longest:
        raise wrong(code, field, name, f"it must be {shortest} to {longest} characters long")
    if name.startswith(("http://", "https://")):
        raise wrong(code, field, name, "it must not start with http:// or https://")
    if not any_start and not _NAME.match(name):
        raise wrong(
            code, field, name, "it must start with a letter and hold letters, digits, . _ : -"
        )


def check_description(call: LocalCall, *, longest: int = 256) -> None:
    text = call.params.get("Description") or ""
    if len(text) > longest or text.startswith(("http://", "https://")):
        raise wrong(
            "InvalidDescription.Malformed",
            "Description",
            text,
            f"at most {longest} characters, and no URL at its start",
        )


def one_of(call: LocalCall, field: str, values: Iterable[str], *, code: str, default: str) -> str:
    """The parameter's value, which must be one of ``values``."""
    value = call.params.get(field) or default
    choices = tuple(values)
    if value not in choices:
        raise wrong(code, field, value, "use " + ", ".join(choices))
    return str(value)


def short(over: str, limit: int, *, code: str, field: str, value: Any) -> ApiError:
    """A quota that is used up: ``field`` and ``value`` say what asked for one more."""
    return ApiError(
        400, code, f"The quota of {over} is exceeded: {limit} at most ({field} {value!r})."
    )


def given(params: Mapping[str, Any], *fields: str) -> dict[str, Any]:
    """The parameters among ``fields`` that were sent."""
    return {field: params[field] for field in fields if params.get(field) is not None}


def given_or(call: LocalCall, field: str, default: int) -> int:
    """A number that was sent, 0 included, or the default."""
    value = call.params.get(field)
    return default if value is None else int(value)
