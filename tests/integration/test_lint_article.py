"""The snippets of the article: every one of their known mistakes is found, at its line, and said once.

E9 (a product that is gone) and E10 (where half messages end) are about text: no file of the folder shows them, so other tests
give lint files that do.
"""

from pathlib import Path

import pytest

from lint_lab import TODAY
from saleops.domain.lint.findings import Finding
from saleops.operations.lint.linting import lint
from saleops.operations.lint.reading import read_paths

ARTICLE = Path(__file__).parents[2].parent / "shared" / "article"

pytestmark = pytest.mark.skipif(
    not ARTICLE.is_dir(), reason=f"the snippets are not there: {ARTICLE}"
)

ERRATA = [
    ("E1-up", "cronhpa.yaml", 12, "CRN001"),
    ("E1-down", "cronhpa.yaml", 15, "CRN001"),
    ("E2-zone", "cronhpa.yaml", 10, "CRN012"),
    ("E3-negative", "inventory.lua", 8, "LUA001"),
    ("E3-missing-key", "inventory.lua", 5, "LUA003"),
    ("E3-replay", "inventory.lua", 8, "LUA004"),
    ("E4-profile", "ack-cluster.json", 4, "ACK001"),
    ("E4-network", "ack-cluster.json", 10, "ACK002"),
    ("E4-workers", "ack-cluster.json", 7, "ACK003"),
    ("E4-region", "ack-cluster.json", 1, "ACK004"),
    ("E5-price", "ack-nodepool.json", 6, "SPT001"),
    ("E5-share", "ack-nodepool.json", 3, "SPT003"),
    ("E5-taint", "ack-nodepool.json", 6, "SPT002"),
    ("E5-vswitches", "ack-nodepool.json", 3, "ACK006"),
    ("E5-size", "ack-nodepool.json", 3, "ACK007"),
    ("E6-snat", "network.tf", 24, "TFM001"),
    ("E7-annotation", "ingress.yaml", 9, "ALB001"),
    ("E7-class", "ingress.yaml", 6, "ALB002"),
    ("E7-listener", "ingress.yaml", 7, "ALB003"),
    ("E8-selector", "networkpolicy.yaml", 8, "NET001"),
    ("E8-deny", "networkpolicy.yaml", 6, "NET002"),
    ("vpc", "network.tf", 10, "TFM006"),
    ("one-zone", "polardb.tf", 7, "TFM002"),
    ("deletable", "polardb.tf", 2, "TFM003"),
]


@pytest.fixture(scope="module")
def findings() -> tuple[Finding, ...]:
    report = lint(read_paths([str(ARTICLE)], stdin=bytes), today=TODAY)
    assert not report.bugs
    assert report.files == 8
    return report.findings


@pytest.mark.parametrize(
    ("file", "line", "id"), [one[1:] for one in ERRATA], ids=[one[0] for one in ERRATA]
)
def test_each_mistake_is_found_once_at_its_line(
    findings: tuple[Finding, ...], file: str, line: int, id: str
) -> None:
    found = [one.line for one in findings if one.id == id and Path(one.file).name == file]

    assert found.count(line) == 1


def test_the_same_words_are_never_said_twice(findings: tuple[Finding, ...]) -> None:
    said = [(one.file, one.line, one.message) for one in findings]

    assert len(set(said)) == len(said)


def test_every_finding_says_what_happens_what_to_write_and_who_says_so(
    findings: tuple[Finding, ...],
) -> None:
    for one in findings:
        assert one.why, one
        assert one.fix, one
        assert one.source, one
        assert one.severity in ("error", "warning", "info")


def test_the_command_exits_3(capsys: pytest.CaptureFixture[str]) -> None:
    from saleops.cli.main import main

    assert main(["lint", str(ARTICLE)]) == 3

    out = capsys.readouterr().out
    for _, file, line, id in ERRATA:
        assert any(f"{file}:{line}:" in row and f" {id}: " in row for row in out.splitlines())
