"""Which of the things the cloud shows are a sale's: our name says which resource, our tag says that we made it.

Products spell tags in four ways (``Tags.Tag[].Key``, ``Tags.Tag[].TagKey``, ``tags[].key``, ``Tags[].Key``); here they are
read in one place. A thing with our name and without our tag belongs to somebody else, and is never touched.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from saleops.domain.cloud.resources import SALE_TAG, Condition, Found

Row = Mapping[str, Any]
TWINS = "twins"
"""The output that names the others where ours is there more than once."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose resources these are, and where."""

    sale: str
    region: str

    def named(self, suffix: str) -> str:
        return f"{self.sale}-{suffix}"

    @property
    def rpc_tags(self) -> list[dict[str, str]]:
        return [{"Key": SALE_TAG, "Value": self.sale}]

    @property
    def roa_tags(self) -> list[dict[str, str]]:
        return [{"key": SALE_TAG, "value": self.sale}]


def tags_of(row: Row) -> dict[str, str]:
    """The tags of ``row``, whichever way its product spells them."""
    held = row.get("Tags", row.get("tags", row.get("Tag"))) or ()
    if isinstance(held, Mapping):
        held = held.get("Tag") or ()
    tags: dict[str, str] = {}
    for tag in held:
        key = tag.get("Key", tag.get("TagKey", tag.get("key")))
        value = tag.get("Value", tag.get("TagValue", tag.get("value")))
        if key:
            tags[str(key)] = str(value or "")
    return tags


def rows_in(answer: Mapping[str, Any], *path: str) -> list[Row]:
    """The list at ``path`` of an answer; an absent one is empty, as services leave empty lists out."""
    value: Any = answer
    for part in path:
        value = (value or {}).get(part)
    return list(value or ())


@dataclass(frozen=True, slots=True)
class Pick:
    """The row that is ours; ``foreign`` when only strangers have the name; ``twins`` are the ids of others of ours."""

    row: Row
    foreign: bool
    twins: tuple[str, ...] = ()

    def found(
        self,
        id: str,
        *,
        state: str,
        condition: Condition,
        outputs: Mapping[str, str] | None = None,
        fields: Mapping[str, Any] | None = None,
        problem: str = "",
    ) -> Found:
        """What to say of the row: the condition is overruled where it is a stranger's or where ours is there twice."""
        if self.foreign:
            condition = Condition.FOREIGN
            problem = f"{id} has this name without the tag {SALE_TAG}: somebody else made it"
        elif self.twins:
            condition = Condition.FAILED
            problem = twice((id, *self.twins))
        more = {TWINS: ",".join(self.twins)} if self.twins and not self.foreign else {}
        return Found(condition, state, {"id": id, **more, **(outputs or {})}, fields or {}, problem)


def twice(ids: Sequence[str]) -> str:
    return f"{', '.join(ids)} are the same thing twice: delete all but one"


def twins_of(found: Found) -> list[str]:
    """The ids of what has its name and its tag too."""
    return [one for one in found.outputs.get(TWINS, "").split(",") if one]


def pick(
    scope: Scope, rows: Iterable[Row], *, name: str, name_field: str, id_field: str
) -> Pick | None:
    """The row called ``name``: ours before a stranger's, the first by id where there are several. None where none is."""
    named = sorted(
        (row for row in rows if row.get(name_field) == name), key=lambda row: str(row.get(id_field))
    )
    ours = [row for row in named if tags_of(row).get(SALE_TAG) == scope.sale]
    if ours:
        return Pick(ours[0], False, tuple(str(row.get(id_field)) for row in ours[1:]))
    return Pick(named[0], True) if named else None


def condition_of(
    state: str, *, ready: Sequence[str], failed: Sequence[str] = (), leaving: Sequence[str] = ()
) -> Condition:
    """What a product's ``state`` means. A word we do not know is work in progress: waiting for it is bounded, acting is not."""
    if state in ready:
        return Condition.READY
    if state in failed:
        return Condition.FAILED
    return Condition.LEAVING if state in leaving else Condition.PENDING


def text(value: Any) -> str:
    """Ids and figures as text; nothing for what an answer left out."""
    return "" if value is None else str(value)
