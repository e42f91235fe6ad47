"""What somebody may put into ``world.settings``: every documented key with what it takes. Unknown keys are let through, for
a product may know more than this list; a wrong value of a known one would break an answer, so it is refused."""

import math
from collections.abc import Callable, Mapping
from typing import Any

Check = Callable[[str, Any], list[str]]


def settings_problems(settings: Mapping[str, Any]) -> list[str]:
    """Every value that no answer could use, by name."""
    found: list[str] = []
    for name, check in CHECKS.items():
        if name in settings:
            found += check(name, settings[name])
    return found


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value)


def _amount(name: str, value: Any) -> list[str]:
    return (
        []
        if _is_number(value) and value >= 0
        else [f"{name} is not a number of 0 or more: {value!r:.80}"]
    )


def _number(name: str, value: Any) -> list[str]:
    return [] if _is_number(value) else [f"{name} is not a number: {value!r:.80}"]


def _share(name: str, value: Any) -> list[str]:
    fits = _is_number(value) and 0 <= value <= 1
    return [] if fits else [f"{name} is not a number from 0 to 1: {value!r:.80}"]


def _names(name: str, value: Any) -> list[str]:
    fits = isinstance(value, list) and all(isinstance(one, str) for one in value)
    return [] if fits else [f"{name} is not a list of texts: {value!r:.80}"]


def _text(name: str, value: Any) -> list[str]:
    return [] if isinstance(value, str) else [f"{name} is not a text: {value!r:.80}"]


def _one_of(*values: str) -> Check:
    def check(name: str, value: Any) -> list[str]:
        return [] if value in values else [f"{name} is {' or '.join(values)}: {value!r:.80}"]

    return check


def _each(check: Check) -> Check:
    """An object whose values all pass ``check``."""

    def checked(name: str, value: Any) -> list[str]:
        if not isinstance(value, Mapping):
            return [f"{name} is not an object: {value!r:.80}"]
        return [said for key, one in value.items() for said in check(f"{name}.{key}", one)]

    return checked


def _object(**fields: Check) -> Check:
    """An object whose known fields pass."""

    def checked(name: str, value: Any) -> list[str]:
        if not isinstance(value, Mapping):
            return [f"{name} is not an object: {value!r:.80}"]
        return [
            said
            for key, check in fields.items()
            if key in value
            for said in check(f"{name}.{key}", value[key])
        ]

    return checked


def _either(first: Callable[[Any], bool], check: Check, other: Check) -> Check:
    def checked(name: str, value: Any) -> list[str]:
        return (check if first(value) else other)(name, value)

    return checked


def _is_object(value: Any) -> bool:
    return isinstance(value, Mapping)


CHECKS: dict[str, Check] = {
    "stock": _each(_amount),
    "prices": _each(_amount),
    "quotas": _each(_amount),
    "vswitch_ips": _each(_amount),
    "currency": _one_of("USD", "CNY"),
    "balance": _number,
    "conflict_share": _share,
    "missing_roles": _names,
    "quota_review": _object(seconds=_amount, verdict=_one_of("Agree", "Disagree"), reason=_text),
    "metrics": _each(_either(_is_object, _each(_number), _number)),
    "load": _each(_share),
    "dcdn": _object(
        preload_fails=_either(_is_object, _each(_text), _names),
        preload_slow_s=_each(_amount),
        preload_rate=_amount,
        refresh_rate=_amount,
        hit_rate=_amount,
        qps=_amount,
        bad_domains=_names,
        without_cname=_names,
        failing_functions=_names,
    ),
    "rocketmq": _object(lag=_each(_each(_amount))),
    "mse": _object(apps=_names),
}
