"""The lint file, .saleops-lint.yaml: which rules count how much, and what is suppressed until when.

apiVersion: saleops/lint/v1
rules: {CRN004: "off", ALB002: error}
ignore:
  - {id: ALB002, path: "legacy/**", reason: the old class goes with release 7, expires: 2026-12-31}
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from saleops.config.field_errors import explain
from saleops.config.yaml_lines import Document, read_yaml
from saleops.errors import ConfigError

LINT_FILE = ".saleops-lint.yaml"

RuleId = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2,6}[0-9]{3}[a-z]?$")]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Ignored(_Model):
    """Findings that are not said. Without a reason or a day it is a finding itself."""

    id: RuleId
    path: str = Field(default="**", min_length=1, max_length=500)
    reason: str = Field(default="", max_length=500)
    expires: str = Field(default="", max_length=40)


class LintFile(_Model):
    """A lint file."""

    apiVersion: Literal["saleops/lint/v1"]  # noqa: N815  # the file's own spelling
    rules: dict[RuleId, Literal["error", "warning", "info", "off"]] = {}
    ignore: tuple[Ignored, ...] = ()


def load_lint_file(path: Path) -> tuple[LintFile, Document]:
    """The lint file ``path`` and where its values stand. Raises one ConfigError that names every wrong field."""
    document = read_yaml(path)
    try:
        return LintFile.model_validate(document.value), document
    except ValidationError as error:
        raise ConfigError(
            "\n".join(explain(document, error, LintFile)),
            hint="docs/how-to/lint.md describes the lint file.",
        ) from None
