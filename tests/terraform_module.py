"""A Terraform module as python-hcl2 reads it."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import hcl2

SALE = Path(__file__).parents[1] / "examples" / "midnight-drop" / "sale.yaml"
PROFILE = SALE.with_name("profile.yaml")


def documents(files: Iterable[Path]) -> list[dict[str, Any]]:
    return [hcl2.loads(file.read_text(encoding="utf-8")) for file in sorted(files)]


def values(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "terraform.tfvars.json").read_text("utf-8"))
    return found
