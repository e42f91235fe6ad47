"""The fields that our files share: numbers, points in time, names; and what every part of a file is."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
)

from saleops.config.field_errors import shown

_SECONDS: dict[str, float] = {
    "ms": 0.001,
    "s": 1,
    "sec": 1,
    "m": 60,
    "min": 60,
    "h": 3600,
    "d": 86_400,
}
_MILLISECONDS: dict[str, float] = {"ms": 1, "s": 1000, "sec": 1000}
_THOUSANDS: dict[str, float] = {"k": 10**3, "K": 10**3, "m": 10**6, "M": 10**6, "%": 0.01}
_TEXT_NUMBER = re.compile(r"([0-9][0-9,_]*(?:\.[0-9]+)?)\s*([A-Za-z%]*)(?:/s|\s*rps)?")


def number(value: Any, info: ValidationInfo) -> Any:
    """Numbers are written as numbers: text like "40k" or "60s" holds a unit that nobody asked for."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        advice = _number_meant(value, info.field_name or "") if isinstance(value, str) else ""
        raise ValueError(f"a plain number is wanted here, not {shown(value)}{advice}")
    return value


def _number_meant(text: str, name: str) -> str:
    found = _TEXT_NUMBER.fullmatch(text.strip())
    if found is None:
        return ""
    number, unit = found[1].replace(",", "").replace("_", ""), found[2]
    if name.endswith("_s") and not name.endswith("_per_s"):
        scales = _SECONDS
    else:
        scales = _MILLISECONDS if name.endswith("_ms") else _THOUSANDS
    scale = scales.get(unit, 1 if unit in ("", "rps") else 0)
    return f" (did you mean {float(number) * scale:.12g}?)" if scale else ""


def _moment(value: Any) -> datetime:
    example = "2026-11-27T00:00:00+08:00"
    if not isinstance(value, str):
        raise ValueError(f"a point in time like {example} is wanted here, not {shown(value)}")
    try:
        moment = datetime.fromisoformat(value.strip())
    except ValueError:
        raise ValueError(f"{shown(value)} is no point in time; write it like {example}") from None
    if moment.tzinfo is None:
        raise ValueError(
            f"{moment.isoformat()} has no time zone: midnight where? Write {moment.isoformat()}+08:00"
        )
    if not 2000 <= moment.year < 2200:
        raise ValueError(f"the year {moment.year} is no year for a sale")
    return moment.astimezone(UTC)


def _as_text(value: Any) -> Any:
    """``cpu: 1`` means "1", as it does in Kubernetes."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Rate = Annotated[float, BeforeValidator(number), Field(gt=0, le=1e9, allow_inf_nan=False)]
RateOrNone = Annotated[float, BeforeValidator(number), Field(ge=0, le=1e6, allow_inf_nan=False)]
Seconds = Annotated[
    float, BeforeValidator(number), Field(gt=0, le=31 * 86_400, allow_inf_nan=False)
]
Share = Annotated[float, BeforeValidator(number), Field(ge=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, BeforeValidator(number), Field(strict=True, ge=0, le=10**9)]
Moment = Annotated[
    datetime,
    BeforeValidator(_moment),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
Name = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?$",
        description="Lower-case letters, digits and dashes, at most 42.",
    ),
]
Zone = Annotated[str, Field(pattern=r"^[a-z]{2}-[a-z0-9-]{1,40}$")]
Cpu = Annotated[str, BeforeValidator(_as_text), Field(pattern=r"^[0-9]{1,6}(\.[0-9]{1,3}|m)?$")]


class FileModel(BaseModel):
    """A part of a file: unknown keys are mistakes, and nothing changes once it is read."""

    # Deferred: only the whole file is ever validated by itself, so only its validator is built (half the import time).
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)
