"""docs/json.md names every field of the time line's document."""

import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import get_args, get_type_hints

from saleops.operations.lint.timeline import TimelineReport

PAGE = Path(__file__).parents[2] / "docs" / "json.md"


def fields_of(kind: type, prefix: str = "") -> list[str]:
    hints = get_type_hints(kind)
    found = []
    for one in fields(kind):  # type: ignore[arg-type]  # callers hand in dataclasses
        found.append(prefix + one.name)
        inner = (get_args(hints[one.name]) or (None,))[0]
        if isinstance(inner, type) and is_dataclass(inner):
            found += fields_of(inner, f"{prefix}{one.name}[].")
    return found


def test_json_md_names_every_field_of_a_time_line() -> None:
    section = PAGE.read_text(encoding="utf-8").partition("## saleops/lint-timeline/v1\n")[2]
    named = re.findall(r"^\| `([^`]+)` \|", section.partition("\n## ")[0], flags=re.M)

    assert named == fields_of(TimelineReport)
