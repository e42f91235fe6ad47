"""The sale file: one YAML that names the sale, read once into frozen models.

``load_sale(path)`` reports every wrong field at once, each with ``file:line:column``, its path and, where a name is
close to a known one, a suggestion. Nothing else in saleops reads the file.
"""

import difflib
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)

from saleops.config.items import FileItems, InlineItems, Items
from saleops.config.yaml_lines import Document, KeyPath, read_yaml
from saleops.errors import ConfigError

ERRORS_SHOWN = 50


def _number(value: Any) -> Any:
    """Numbers are written as numbers: text like "40k" or "5 rps" is a unit that nobody asked for."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"a plain number is wanted here, not {value!r}")
    return value


def _moment(value: Any) -> Any:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(
                f"{value!r} is no point in time; write it like 2026-11-27T00:00:00+08:00"
            ) from None
    if not isinstance(value, datetime):
        raise ValueError("a point in time is wanted here, like 2026-11-27T00:00:00+08:00")
    if value.tzinfo is None:
        raise ValueError(
            f"{value.isoformat()} has no time zone: midnight where? Write {value.isoformat()}+08:00"
        )
    return value.astimezone(UTC)


Rate = Annotated[float, BeforeValidator(_number), Field(gt=0, le=1e9, allow_inf_nan=False)]
Seconds = Annotated[
    float, BeforeValidator(_number), Field(gt=0, le=31 * 86_400, allow_inf_nan=False)
]
Share = Annotated[float, BeforeValidator(_number), Field(ge=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True, ge=0, le=10**9)]
Moment = Annotated[datetime, BeforeValidator(_moment)]
Name = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?$",
        description="Lower-case letters, digits and dashes, at most 42.",
    ),
]
Url = Annotated[str, Field(pattern=r"^[a-z][a-z0-9+]*://", max_length=2000)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Window(_Model):
    """When the sale sells."""

    opens: Moment = Field(description="T0, with its time zone.")
    closes: Moment = Field(description="The end of the sale, with its time zone.")

    @model_validator(mode="after")
    def _in_order(self) -> "Window":
        if self.closes <= self.opens:
            raise ValueError("the sale closes before it opens")
        return self

    @property
    def opens_ms(self) -> int:
        return int(self.opens.timestamp() * 1000)

    @property
    def closes_ms(self) -> int:
        return int(self.closes.timestamp() * 1000)


class ItemsFile(_Model):
    """Items in a CSV file: sku,name,price,stock[,limit_per_buyer,popularity,department,category]."""

    file: str = Field(min_length=1, description="Path, relative to the sale file.")


class Traffic(_Model):
    """What comes at the sale, per second over the whole site."""

    baseline_rps: Rate = Field(default=10.0, description="Requests a second before the sale.")
    peak_rps: Rate = Field(default=1000.0, description="Requests a second after the step.")
    step_s: Seconds = Field(default=5.0, description="Seconds from baseline to peak.")
    peak_orders_per_s: Rate | None = Field(default=None, description="Orders a second at the peak.")
    page_views_per_order: Rate = Field(default=12.0, description="Page views for each order.")

    @model_validator(mode="after")
    def _rises(self) -> "Traffic":
        if self.peak_rps < self.baseline_rps:
            raise ValueError("peak_rps is below baseline_rps")
        return self


class ServiceSize(_Model):
    """What one pod of a service can do and needs."""

    rps_per_pod: Rate | None = Field(default=None, description="Requests a second one pod serves.")
    connections_per_pod: Count = Field(default=1, description="Database connections of one pod.")
    cpu: str = Field(default="1", pattern=r"^[0-9]+(\.[0-9]+)?m?$", description="CPU request.")
    memory: str = Field(default="1Gi", pattern=r"^[0-9]+(Ki|Mi|Gi)$", description="Memory request.")


class Nodes(_Model):
    instance_types: tuple[str, ...] = Field(default=(), description="ECS types, cheapest first.")
    spot_share: Share = Field(default=0.7, description="Share of spot nodes, 0 to 1.")


class Limits(_Model):
    """What must not be exceeded. 0 means no limit."""

    budget: str | None = Field(
        default=None, pattern=r"^[0-9]+(\.[0-9]{1,2})? [A-Z]{3}$", description='Like "5000 USD".'
    )
    database_connections: Count = 0
    per_buyer_rps: Annotated[float, BeforeValidator(_number), Field(ge=0, le=1e6)] = 20.0
    per_ip_rps: Annotated[float, BeforeValidator(_number), Field(ge=0, le=1e6)] = 0.0


class Objectives(_Model):
    """What the sale is judged by."""

    checkout_p99_ms: Rate | None = None
    error_rate: Share = 0.001
    oversold_units: Count = 0
    orphan_orders: Count = 0


class Reservations(_Model):
    ttl_s: Seconds = Field(default=60.0, description="How long units are held without an order.")


class Payment(_Model):
    ttl_s: Seconds = Field(default=900.0, description="How long an order may stay unpaid.")


class Cache(_Model):
    ttl_s: Seconds = Field(default=300.0, description="How long a page lives.")
    jitter: Annotated[float, BeforeValidator(_number), Field(ge=0, lt=1)] = Field(
        default=0.2, description="A page lives ttl_s x (1 - jitter) to (1 + jitter)."
    )


class Engines(_Model):
    """URLs of real engines; left out, the embedded ones are used. No passwords here: use the environment."""

    redis: Url | None = None
    database: Url | None = None
    broker: Url | None = None

    @field_validator("redis", "database", "broker")
    @classmethod
    def _no_password(cls, url: str | None) -> str | None:
        if url and re.search(r"://[^/@]*:[^/@]+@", url):
            raise ValueError(
                "a password does not belong into a file that is shared: "
                "set SALEOPS_REDIS_URL, SALEOPS_DATABASE_URL or SALEOPS_BROKER_URL instead"
            )
        return url


class Sale(_Model):
    """A sale."""

    apiVersion: Literal["saleops/v1"]  # noqa: N815  # the file's own spelling, as in every Kubernetes file
    name: Name
    window: Window
    region: Annotated[str, Field(pattern=r"^[a-z]{2}-[a-z0-9-]+$")] = "ap-southeast-1"
    zones: tuple[str, ...] = ()
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "USD"
    items: ItemsFile | tuple[Any, ...] = Field(
        description="{file: items.csv}, or a list of {sku, name, price, stock, ...}."
    )
    traffic: Traffic = Traffic()
    services: dict[Name, ServiceSize] = {}
    nodes: Nodes = Nodes()
    limits: Limits = Limits()
    objectives: Objectives = Objectives()
    reservations: Reservations = Reservations()
    payment: Payment = Payment()
    cache: Cache = Cache()
    degrade: tuple[dict[str, Any], ...] = ()
    engines: Engines = Engines()

    _items: Items = PrivateAttr()

    @property
    def items_source(self) -> Items:
        """Where the items come from: ``summary()`` validates all of them, ``stream()`` gives them one by one."""
        return self._items


def load_sale(path: Path | str) -> Sale:
    """The sale in the file ``path``. Raises one ConfigError that names every wrong field.

    Items are not read yet: ``sale.items_source.summary()`` does that.
    """
    path = Path(path)
    document = read_yaml(path)
    if not isinstance(document.value, dict):
        raise ConfigError(
            f"{document.where(())}: a sale file is a mapping (name: ..., window: ...)",
            hint="`saleops init` writes one to start from.",
        )
    try:
        sale = Sale.model_validate(document.value)
    except ValidationError as error:
        raise ConfigError(
            "\n".join(_explain(document, error)),
            hint="`saleops schema` describes every field; nothing was changed.",
        ) from None
    items: Items
    if isinstance(sale.items, ItemsFile):
        items = FileItems(path.parent / sale.items.file)
    else:
        rows = list(document.value["items"])
        items = InlineItems(rows, lambda *at: document.where(("items", *at)))
    sale._items = items
    return sale


def _explain(document: Document, error: ValidationError) -> list[str]:
    lines = []
    found = error.errors(include_url=False, include_input=True)
    for one in found[:ERRORS_SHOWN]:
        at = _path_of(document, one["loc"])
        if at[:1] == ("items",) and not _concerns(document.value.get("items"), one["loc"]):
            continue
        name = ".".join(str(part) for part in at) or "the file"
        what = _in_words(one, at)
        line = f"{document.where(at)}: {name}: {what}"
        if line not in lines:
            lines.append(line)
    if len(found) > ERRORS_SHOWN:
        lines.append(f"... and {len(found) - ERRORS_SHOWN} more")
    return lines


def _concerns(items: Any, loc: tuple[int | str, ...]) -> bool:
    """pydantic tries both forms of ``items``; only what it says of the form that was meant is of use."""
    of_file = "ItemsFile" in loc
    return of_file if isinstance(items, dict) else not of_file


def _path_of(document: Document, loc: tuple[int | str, ...]) -> KeyPath:
    """pydantic's location without the names of union members, which are no part of the file."""
    path: KeyPath = ()
    for part in loc:
        longer = (*path, part)
        if longer in document.places or part == loc[-1]:
            path = longer
    if path and path not in document.places and isinstance(path[-1], str):
        known = path[:-1] in document.places
        if not known or "[" in path[-1] or path[-1] == "ItemsFile":
            path = path[:-1]
    return path


def _in_words(error: Any, at: KeyPath) -> str:
    """pydantic's error in the words of the file."""
    kind, value = error["type"], error.get("input")
    if kind == "extra_forbidden":
        return f"there is no such key{_did_you_mean(str(at[-1]), at[:-1])}"
    if kind == "missing":
        return "this is missing"
    if kind in ("value_error", "assertion_error"):
        return str(error["ctx"]["error"])
    said: str = error["msg"][0].lower() + error["msg"][1:]
    if at == ("items",):
        return "{file: items.csv} or a list of items is wanted here"
    if kind == "string_pattern_mismatch":
        return f"{value!r} is not of the form {error['ctx']['pattern']}"
    if kind.startswith(("model_", "dict_", "tuple_")):
        return said.replace("input should", "this should")
    shown = repr(value)
    return f"{said.replace('input should', 'this should')}, not {shown if len(shown) <= 60 else shown[:57] + '...'}"


def _did_you_mean(key: str, parent: KeyPath) -> str:
    names = _fields_at(parent)
    close = difflib.get_close_matches(key, names, n=1, cutoff=0.6)
    if close:
        return f" (did you mean {close[0]}?)"
    return f" (known here: {', '.join(sorted(names))})" if names else ""


def _fields_at(path: KeyPath) -> list[str]:
    model: Any = Sale
    for part in path:
        if isinstance(part, int) or model is None:
            return []
        if model is ServiceSize:
            return []
        field = model.model_fields.get(part)
        if field is None:
            # Below a mapping of names (services) the next level is the value's model.
            model = ServiceSize if model == "services" else None
            continue
        annotation = field.annotation
        if part == "services":
            return list(ServiceSize.model_fields) if len(path) == 2 else []
        if part == "items":
            annotation = ItemsFile
        model = (
            annotation if isinstance(annotation, type) and issubclass(annotation, _Model) else None
        )
    return list(model.model_fields) if model is not None else []


def sale_schema() -> dict[str, Any]:
    """The JSON Schema of a sale file, for editors."""
    schema = Sale.model_json_schema(mode="validation")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "saleops sale file",
        **{key: value for key, value in schema.items() if key != "title"},
    }
