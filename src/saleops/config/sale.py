"""The sale file: one YAML that names the sale, read once into frozen models.

``load_sale(path)`` reports every wrong field at once, each with ``file:line:column``, its path and, where a name or a
number is close to a right one, a suggestion. Nothing else in saleops reads the file.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    PrivateAttr,
    Tag,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from saleops.config.engines import Engines
from saleops.config.field_errors import ERRORS_SHOWN, explain
from saleops.config.fields import (
    Count,
    Cpu,
    FileModel,
    Moment,
    Name,
    Rate,
    RateOrNone,
    Seconds,
    Share,
    Zone,
    number,
)
from saleops.config.items import FileItems, InlineItems, Items
from saleops.config.yaml_lines import Document, read_yaml
from saleops.errors import ConfigError

PROFILE_FILE = "profile.yaml"
"""Where the profile of a sale is looked for: beside the sale file."""


class Window(FileModel):
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


class ItemsFile(FileModel):
    """Items in a CSV file: sku,name,price,stock[,limit_per_buyer,popularity,department,category]."""

    file: str = Field(min_length=1, max_length=4096, description="Path, relative to the sale file.")


_INLINE_ITEM = {
    "type": "object",
    "additionalProperties": False,
    "required": ["sku", "name", "price", "stock"],
    "properties": {
        "sku": {"type": ["string", "integer"], "description": "Letters, digits and . _ - : /"},
        "name": {"type": ["string", "number"]},
        "price": {"type": ["number", "string"], "minimum": 0, "description": "At most 2 decimals."},
        "stock": {"type": "integer", "minimum": 0, "description": "Units on sale."},
        "limit_per_buyer": {"type": "integer", "minimum": 0, "description": "Units; 0: no limit."},
        "popularity": {"type": "number", "minimum": 0, "description": "Weight of demand."},
        "department": {"type": "string"},
        "category": {"type": "string"},
    },
}
ItemsList = Annotated[
    tuple[Any, ...], WithJsonSchema({"type": "array", "minItems": 1, "items": _INLINE_ITEM})
]


def _items_form(value: Any) -> str | None:
    """Which of the two forms of ``items`` was meant, so that only its mistakes are told."""
    if isinstance(value, dict | ItemsFile):
        return "{file}"
    return "[list]" if isinstance(value, list | tuple) else None


class Traffic(FileModel):
    """What comes at the sale, per second over the whole site."""

    baseline_rps: Rate = Field(default=10.0, description="Requests a second before the sale.")
    peak_rps: Rate = Field(default=1000.0, description="Requests a second after the step.")
    step_s: Seconds = Field(default=5.0, description="Seconds from baseline to peak.")
    peak_orders_per_s: Rate | None = Field(default=None, description="Orders a second at the peak.")
    page_views_per_order: RateOrNone = Field(default=12.0, description="Page views for each order.")

    @model_validator(mode="after")
    def _rises(self) -> "Traffic":
        if self.peak_rps < self.baseline_rps:
            raise ValueError(
                f"peak_rps ({self.peak_rps:g}) is below baseline_rps ({self.baseline_rps:g})"
            )
        return self


class ServiceSize(FileModel):
    """What one pod of a service can do and needs."""

    rps_per_pod: Rate | None = Field(default=None, description="Requests a second one pod serves.")
    connections_per_pod: Count = Field(default=1, description="Database connections of one pod.")
    cpu: Cpu = Field(default="1", description='CPU request in cores, like "1" or 500m.')
    memory: str = Field(
        default="1Gi", pattern=r"^[1-9][0-9]{0,8}(Ki|Mi|Gi)$", description="Memory request, 512Mi."
    )


class Nodes(FileModel):
    """What the pods run on."""

    instance_types: tuple[Annotated[str, Field(pattern=r"^ecs\.[a-z0-9.-]{3,40}$")], ...] = Field(
        default=(), description="ECS types, the preferred first."
    )
    spot_share: Share = Field(default=0.7, description="Share of spot nodes, 0 to 1.")


class Limits(FileModel):
    """What must not be exceeded. 0 means no limit."""

    budget: str | None = Field(
        default=None,
        pattern=r"^[0-9]{1,12}(\.[0-9]{1,2})? [A-Z]{3}$",
        description='What the sale may cost, with its currency, like "5000 USD".',
    )
    database_connections: Count = Field(
        default=0, description="Connections the database allows all pods together."
    )
    per_buyer_rps: RateOrNone = Field(
        default=20.0, description="Order requests a second of one buyer, per worker."
    )
    per_ip_rps: RateOrNone = Field(
        default=0.0, description="Requests a second of one address, per worker."
    )

    @field_validator("budget", mode="before")
    @classmethod
    def _with_currency(cls, budget: Any) -> Any:
        if isinstance(budget, int | float) and not isinstance(budget, bool):
            raise ValueError(f"{budget} of what? (did you mean {budget} USD?)")
        return budget


class Objectives(FileModel):
    """What the sale is judged by."""

    checkout_p99_ms: Rate | None = Field(
        default=None, description="Milliseconds in which 99 % of the orders are answered."
    )
    error_rate: Share = Field(default=0.001, description="Share of requests that may fail, 0 to 1.")
    oversold_units: Count = Field(default=0, description="Units sold that were not there.")
    orphan_orders: Count = Field(default=0, description="Orders nobody will pay or ship.")


class Reservations(FileModel):
    """Units that are held for an order on its way."""

    ttl_s: Seconds = Field(default=60.0, description="Seconds units are held without an order.")


class Payment(FileModel):
    """The time to pay."""

    ttl_s: Seconds = Field(default=900.0, description="Seconds an order may stay unpaid.")


class Cache(FileModel):
    """How long product pages live."""

    ttl_s: Seconds = Field(default=300.0, description="Seconds a page lives.")
    jitter: Annotated[float, BeforeValidator(number), Field(ge=0, lt=1, allow_inf_nan=False)] = (
        Field(default=0.2, description="A page lives ttl_s x (1 - jitter) to (1 + jitter).")
    )


def _sheddable(value: Any) -> Any:
    if value in ("reserve", "checkout", "order", "pay", "payment"):
        raise ValueError(f"{value} is essential and never switched off")
    return value


Feature = Annotated[Literal["recommendations", "reviews"], BeforeValidator(_sheddable)]


# An empty mapping, validated within the sale: Traffic() would build a validator of its own.
_DEFAULTS: Any = Field(default_factory=dict, validate_default=True)


class Sale(FileModel):
    """A sale."""

    apiVersion: Literal["saleops/v1"]  # noqa: N815  # the file's own spelling, as in every Kubernetes file
    name: Name
    window: Window
    region: Zone = Field(default="ap-southeast-1", description="Alibaba Cloud region.")
    zones: tuple[Zone, ...] = Field(default=(), description="Zones of the region, two or more.")
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = Field(
        default="USD", description="Of all prices: three letters of ISO 4217."
    )
    items: Annotated[
        Annotated[ItemsFile, Tag("{file}")] | Annotated[ItemsList, Tag("[list]")],
        Discriminator(_items_form),
    ] = Field(description="{file: items.csv}, or a list of {sku, name, price, stock, ...}.")
    traffic: Traffic = _DEFAULTS
    services: dict[Name, ServiceSize] = Field(default={}, description="Sizes by service name.")
    nodes: Nodes = _DEFAULTS
    limits: Limits = _DEFAULTS
    objectives: Objectives = _DEFAULTS
    reservations: Reservations = _DEFAULTS
    payment: Payment = _DEFAULTS
    cache: Cache = _DEFAULTS
    degrade: tuple[Feature, ...] = Field(
        default=(),
        description="Features that may be switched off under load, the first to go first.",
    )
    engines: Engines = _DEFAULTS

    _items: Items = PrivateAttr()

    @field_validator("zones")
    @classmethod
    def _of_the_region(cls, zones: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        region = info.data.get("region")
        strangers = [zone for zone in zones if region and not zone.startswith(f"{region}")]
        if strangers:
            raise ValueError(f"{', '.join(strangers)}: not of the region {region}")
        if len(set(zones)) != len(zones):
            raise ValueError("a zone is there twice")
        return zones

    @property
    def items_source(self) -> Items:
        """Where the items come from: ``summary()`` validates all of them, ``stream()`` gives them one by one."""
        return self._items


def load_sale(path: Path | str) -> Sale:
    """The sale in the file ``path``. Raises one ConfigError that names every wrong field.

    Items that are listed in the file are checked with it. Of an items file only its presence is checked here, because it
    may hold a million rows: ``sale.items_source.summary()`` reads it. Engines that the file does not name are those of the
    profile beside it, where that names some.
    """
    return sale_of(read_yaml(Path(path)))


def sale_of(document: Document) -> Sale:
    """As :func:`load_sale`, of a document that has been read already."""
    if not isinstance(document.value, dict):
        raise ConfigError(
            f"{document.where(())}: a sale file is a mapping (name: ..., window: ...)",
            hint="`saleops init` writes one to start from.",
        )
    wrong: list[str] = []
    sale = None
    try:
        sale = Sale.model_validate(document.value)
    except ValidationError as error:
        wrong = explain(document, error, Sale)
    items = _items_of(document, wrong)
    if sale is None or items is None or wrong:
        raise ConfigError(
            "\n".join(wrong), hint="`saleops schema` describes every field; nothing was changed."
        )
    sale = _with_engines_of_profile(sale, document.path)
    sale._items = items
    return sale


def _with_engines_of_profile(sale: Sale, path: Path) -> Sale:
    """``sale`` with the engines that it does not name and that the profile beside it does. Raises ConfigError."""
    beside = path.parent / PROFILE_FILE
    open_ones = [name for name in Engines.model_fields if getattr(sale.engines, name) is None]
    try:
        if not open_ones or b"engines" not in beside.read_bytes():
            return sale  # most profiles name none: then their models need not be built
    except OSError:
        return sale
    from saleops.config.profile import load_profile

    theirs = load_profile(beside).engines
    named = {name: url for name in open_ones if (url := getattr(theirs, name)) is not None}
    return sale.model_copy(update={"engines": sale.engines.model_copy(update=named)})


def _items_of(document: Document, wrong: list[str]) -> Items | None:
    """The items that ``document`` names; what is wrong with them is added to ``wrong``."""
    found = document.value.get("items")
    if isinstance(found, list) and len(wrong) < ERRORS_SHOWN:
        inline = InlineItems(found, lambda *at: document.where(("items", *at)))
        try:
            inline.summary()
        except ConfigError as error:
            wrong += error.message.splitlines()
            return None
        return inline
    if isinstance(found, dict) and isinstance(name := found.get("file"), str) and name:
        items = FileItems(document.path.parent / name)
        try:
            items.check_present()
        except ConfigError as error:
            wrong.append(f"{document.where(('items', 'file'))}: items.file: {error.message}")
            return None
        return items
    return None


def sale_schema() -> dict[str, Any]:
    """The JSON Schema of a sale file, for editors."""
    schema = Sale.model_json_schema(mode="validation")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "saleops sale file",
        **{key: value for key, value in schema.items() if key != "title"},
    }
