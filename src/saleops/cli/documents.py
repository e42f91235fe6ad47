"""Results as plain values: what ``-o json``, ``yaml`` and ``ndjson`` print.

A result is a dataclass, a msgspec Struct, a pydantic model or a mapping that names its schema
(``schema: ClassVar[str] = "saleops/seed/v1"``). Its document has the same keys in every format, the schema first.
"""

import dataclasses
import math
from collections.abc import Mapping
from datetime import date, datetime
from enum import Enum
from typing import Any


def document_of(result: object) -> dict[str, Any]:
    """``result`` as a JSON document. Raises TypeError for what has no schema or no JSON form: the caller has a bug."""
    plain = plain_of(result)
    if not isinstance(plain, dict):
        raise TypeError(f"{type(result).__name__} is not a result: it has no fields")
    schema = plain.pop("schema", None) or getattr(result, "schema", None)
    if not isinstance(schema, str):
        raise TypeError(f"{type(result).__name__} declares no schema")
    return {"schema": schema, **plain}


def plain_of(value: Any) -> Any:
    """``value`` in the types of JSON: sets sorted, times as ISO 8601, NaN and infinity as null."""
    if value is None or isinstance(value, bool | int | str):
        return value.value if isinstance(value, Enum) else value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Enum):
        return plain_of(value.value)
    if isinstance(value, Mapping):
        return {str(plain_of(key)): plain_of(one) for key, one in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((plain_of(one) for one in value), key=str)
    if isinstance(value, list | tuple):
        return [plain_of(one) for one in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: plain_of(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if hasattr(value, "__struct_fields__"):  # msgspec, which the caller has imported
        import msgspec

        return plain_of(msgspec.to_builtins(value, enc_hook=plain_of))
    if hasattr(value, "model_dump"):  # pydantic
        return plain_of(value.model_dump(mode="json", by_alias=True))
    if isinstance(value, datetime | date):
        return value.isoformat()
    if hasattr(value, "__fspath__") or type(value).__name__ in ("Decimal", "UUID"):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
