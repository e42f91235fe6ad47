"""One rule over some texts, in a test: what it says, where, and whether it says it at all."""

from collections.abc import Mapping

from lint_lab import lint_texts
from saleops.domain.lint.findings import Finding
from saleops.domain.lint.fleet import SaleFacts
from saleops.operations.lint.linting import Choice


def said_by(
    rule: str,
    texts: str | Mapping[str, str],
    *,
    name: str = "x.yaml",
    sale: SaleFacts | None = None,
) -> list[Finding]:
    """Findings of the rule ``rule`` in ``texts`` (a text is a file called ``name``)."""
    files = {name: texts} if isinstance(texts, str) else texts
    return list(lint_texts(files, sale, Choice(only=frozenset({rule}))).findings)
