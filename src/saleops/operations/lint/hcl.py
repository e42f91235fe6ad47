"""Terraform as plain values: python-hcl2 reads the text, we keep where each value stands.

Of ``resource "alicloud_vpc" "main" { cidr_block = "10.0.0.0/16" }`` becomes
``{"resource": {"alicloud_vpc": {"main": [{"cidr_block": "10.0.0.0/16"}]}}}``: under its labels every block is a list, because it
may be there more than once. Texts are without quotes; what only terraform can work out stays as it is written, in ``${...}``.
"""

from collections.abc import Mapping
from typing import Any

from saleops.domain.lint.documents import KeyPath, LintDocument, Place
from saleops.operations.lint.parsed import Parsed, sentence, trouble

_LABELS = {
    "resource": 2,
    "data": 2,
    "provider": 1,
    "variable": 1,
    "output": 1,
    "module": 1,
    "locals": 0,
    "terraform": 0,
}
"""How many labels a block of terraform's own has; JSON writes them as keys."""

_FAULTS = (ValueError, RuntimeError, TypeError, LookupError, AttributeError)
"""What python-hcl2 raises beside its parser's errors for texts that its grammar lets pass."""


def parse_terraform(name: str, text: str) -> Parsed:
    """The one document of ``text``."""
    import hcl2
    from lark.exceptions import LarkError, UnexpectedInput

    try:
        body = hcl2.parses(text, discard_comments=True).body
        reader = _Reader()
        value = reader.body(body, ())
    except UnexpectedInput as error:
        line, column = _place_of(error, text)
        shown = getattr(error, "token", None) or getattr(error, "char", "")
        what = repr(str(shown).split("\n", maxsplit=1)[0])[:40] if str(shown).strip() else "the end"
        message = f"This is no Terraform: {what} is not expected here"
        return Parsed(troubles=[trouble("SRC001", name, line, column, message)])
    except (LarkError, *_FAULTS) as error:
        message = sentence(f"this cannot be read as Terraform: {str(error)[:200]}")
        return Parsed(troubles=[trouble("SRC001", name, 1, 1, message)])
    document = LintDocument(name, "terraform", value, text, reader.places, reader.keys)
    return Parsed([document])


def _place_of(error: Any, text: str) -> Place:
    line, column = getattr(error, "line", 0), getattr(error, "column", 0)
    if isinstance(line, int) and isinstance(column, int) and line > 0 and column > 0:
        return min(line, text.rstrip().count("\n") + 1), column
    return text.rstrip().count("\n") + 1, 1


class _Reader:
    """Walks the tree of python-hcl2."""

    def __init__(self) -> None:
        from hcl2 import SerializationOptions

        self.places: dict[KeyPath, Place] = {(): (1, 1)}
        self.keys: dict[KeyPath, Place] = {}
        self._options = SerializationOptions(
            with_comments=False,
            explicit_blocks=False,
            preserve_heredocs=False,
            strip_string_quotes=True,
        )

    def body(self, body: Any, at: KeyPath) -> dict[str, Any]:
        from hcl2.rules.base import AttributeRule, BlockRule

        values: dict[str, Any] = {}
        for child in body.children:
            if isinstance(child, AttributeRule):
                key = str(child.identifier.serialize(self._options))
                path = (*at, key)
                self.keys[path] = _start(child)
                values[key] = self._value(child.expression, path)
            elif isinstance(child, BlockRule):
                self._block(child, values, at)
        return values

    def _block(self, block: Any, values: dict[str, Any], at: KeyPath) -> None:
        start = _start(block)
        *labels, last = [str(one.serialize(self._options)) for one in block.labels]
        holder = values
        for label in labels:
            at = (*at, label)
            self.places.setdefault(at, start)
            self.keys.setdefault(at, start)
            inner = holder.setdefault(label, {})
            if not isinstance(inner, dict):  # the name is an attribute's too: terraform refuses
                raise ValueError(f"{label} is an attribute and a block")
            holder = inner
        at = (*at, last)
        self.places.setdefault(at, start)
        self.keys.setdefault(at, start)
        listed = holder.setdefault(last, [])
        if not isinstance(listed, list):
            raise ValueError(f"{last} is an attribute and a block, or has other labels elsewhere")
        path = (*at, len(listed))
        self.places[path] = start
        listed.append(self.body(block.body, path))

    def _value(self, expression: Any, at: KeyPath) -> Any:
        self.places[at] = _start(expression)
        self._inner(expression, at)
        return expression.serialize(self._options)

    def _inner(self, expression: Any, at: KeyPath) -> None:
        """Places of what stands in a list or an object."""
        from hcl2.rules.containers import ObjectRule, TupleRule
        from hcl2.rules.expressions import ExprTermRule

        while isinstance(expression, ExprTermRule):
            expression = expression.expression
        if isinstance(expression, TupleRule):
            for number, element in enumerate(expression.elements):
                self.places[(*at, number)] = _start(element)
                self._inner(element, (*at, number))
        elif isinstance(expression, ObjectRule):
            for entry in expression.elements:
                path = (*at, str(entry.key.serialize(self._options)))
                self.keys[path] = _start(entry)
                self.places[path] = _start(entry.expression)
                self._inner(entry.expression, path)


def _start(element: Any) -> Place:
    meta = getattr(element, "_meta", None)
    return (meta.line, meta.column) if meta is not None and not meta.empty else (1, 1)


def from_json(
    name: str,
    text: str,
    value: Mapping[str, Any],
    places: Mapping[KeyPath, Place],
    keys: Mapping[KeyPath, Place],
) -> LintDocument:
    """A .tf.json, its blocks under their labels as lists, as in :func:`parse_terraform`."""
    blocks: dict[str, Any] = {}
    moved: dict[KeyPath, KeyPath] = {}
    for kind, content in value.items():
        blocks[kind] = _listed(content, _LABELS.get(kind, 0), (kind,), moved)

    def there(path: KeyPath) -> KeyPath:
        for length in range(len(path), 0, -1):
            if path[:length] in moved:
                return moved[path[:length]] + path[length:]
        return path

    return LintDocument(
        name,
        "terraform",
        blocks,
        text,
        {there(path): place for path, place in places.items()},
        {there(path): place for path, place in keys.items()},
    )


def _listed(content: Any, labels: int, at: KeyPath, moved: dict[KeyPath, KeyPath]) -> Any:
    if labels and isinstance(content, dict):
        return {
            label: _listed(inner, labels - 1, (*at, label), moved)
            for label, inner in content.items()
        }
    if isinstance(content, dict):
        moved[at] = (*at, 0)
        return [content]
    return content
