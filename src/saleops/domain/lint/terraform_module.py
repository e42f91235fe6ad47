"""The resources of one Terraform module: all .tf files of a folder belong together, and refer to each other by address."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

from saleops.domain.lint.documents import KeyPath, LintDocument
from saleops.domain.lint.fleet import Fleet
from saleops.domain.lint.plain_values import rows, table, text, walk

_PLAIN_ZONE = re.compile(r'"([a-z]{2}-[a-z0-9-]+[a-z])"')


@dataclass(frozen=True, eq=False)
class Resource:
    """``type.name`` and its body, at ``path`` of ``document``."""

    document: LintDocument
    type: str
    name: str
    path: KeyPath
    body: dict[Any, Any]

    @property
    def address(self) -> str:
        return f"{self.type}.{self.name}"

    def literal(self, argument: str) -> Any:
        """The value where it is written down; None where it is not there, or only terraform knows it."""
        value = self.body.get(argument)
        return None if isinstance(value, str) and "${" in value else value

    def at(self, *path: str | int) -> KeyPath:
        return (*self.path, *path)

    @cached_property
    def said(self) -> str:
        """Every text in it, for a search after references."""
        return " ".join(one for _, one in walk(self.body) if isinstance(one, str))

    def names(self, other: "Resource") -> bool:
        return re.search(rf"\b{re.escape(other.address)}\b", self.said) is not None

    def blocks(self, name: str) -> Iterator[tuple[KeyPath, dict[Any, Any]]]:
        """Its nested blocks called ``name``, those that ``dynamic`` makes too."""
        for at, one in _each(self.body.get(name), self.at(name)):
            yield at, one
        for at, labels in _each(self.body.get("dynamic"), self.at("dynamic")):
            for where, block in _each(labels.get(name), (*at, name)):
                yield from _each(block.get("content"), (*where, "content"))


@dataclass(eq=False)
class Module:
    """The resources of a folder."""

    folder: str
    resources: list[Resource] = field(default_factory=list)
    opaque: bool = False  # it calls other modules, which may hold what seems to be missing
    outputs: str = ""

    def of(self, *types: str) -> list[Resource]:
        return [one for one in self.resources if one.type in types]

    @cached_property
    def zones(self) -> set[str]:
        """Zones that its vSwitches are written to be in, as far as the text says."""
        found: set[str] = set()
        for switch in self.of("alicloud_vswitch"):
            zone = switch.body.get("zone_id", switch.body.get("availability_zone"))
            if isinstance(zone, str) and "${" not in zone:
                found.add(zone)
            elif isinstance(zone, str):
                named = sorted(set(_PLAIN_ZONE.findall(zone)))
                count = switch.literal("count")
                found |= set(named[:count] if isinstance(count, int) and count > 0 else named)
        return found

    @property
    def spreads(self) -> bool:
        """Whether the plan is for more than one zone: by the zones it names, or because it makes several vSwitches."""
        if len(self.zones) > 1:
            return True
        switches = self.of("alicloud_vswitch")
        return (len(switches) > 1 and not self.zones) or any(
            "for_each" in one.body or _above_one(one.body.get("count")) for one in switches
        )


def _above_one(count: Any) -> bool:
    return (isinstance(count, int) and not isinstance(count, bool) and count > 1) or (
        isinstance(count, str) and bool(count)
    )


def modules(fleet: Fleet) -> list[Module]:
    found = fleet.worked_out.get("terraform_modules")
    if found is None:
        found = fleet.worked_out["terraform_modules"] = list(_read(fleet).values())
    return cast(list[Module], found)


def _read(fleet: Fleet) -> dict[str, Module]:
    found: dict[str, Module] = {}
    for document in fleet.of_format("terraform"):
        folder = document.file.rpartition("/")[0]
        module = found.setdefault(folder, Module(folder))
        value = table(document.value)
        module.opaque = module.opaque or bool(value.get("module"))
        module.outputs += " ".join(
            one for _, one in walk(value.get("output")) if isinstance(one, str)
        )
        for path, types in _each(value.get("resource"), ("resource",)):
            for type_, named in types.items():
                for at, names in _each(named, (*path, str(type_))):
                    for name, body in names.items():
                        for where, one in _each(body, (*at, str(name))):
                            module.resources.append(
                                Resource(document, str(type_), str(name), where, one)
                            )
    return found


def _each(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, dict[Any, Any]]]:
    if isinstance(value, dict):
        yield path, value
    for i, one in enumerate(rows(value)):
        if isinstance(one, dict):
            yield (*path, i), one


def blocks_under(body: dict[Any, Any], name: str) -> dict[Any, Any]:
    """The first block called ``name`` in ``body``."""
    return next((one for _, one in _each(body.get(name), ())), {})


def truth(value: Any) -> bool | None:
    """A boolean, written as one or as a text; None for what only terraform knows."""
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False, "1": True, "0": False}.get(
        text(value).lower() or str(value)
    )
