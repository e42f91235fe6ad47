"""A lint run for other tools: SARIF 2.1.0 for code hosts and editors, JUnit XML for build servers."""

import json
import re
from itertools import groupby
from typing import Any
from urllib.parse import quote

from saleops import __version__
from saleops.domain.lint.findings import Edit, Finding
from saleops.domain.lint.rules import Rule
from saleops.operations.lint.linting import LintReport
from saleops.operations.lint.running import load_rules
from saleops.operations.lint.suppressing import Suppressed

_SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
_LEVELS = {"error": "error", "warning": "warning", "info": "note"}
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def sarif(report: LintReport) -> str:
    """The log of one run. Suppressed findings are in it, with their reasons."""
    rules = list(load_rules().values())
    numbers = {one.id: number for number, one in enumerate(rules)}
    results = [_result(one, numbers, None) for one in report.findings]
    results += [_result(one.finding, numbers, one) for one in report.suppressed]
    notifications = [
        {
            "level": "error",
            "message": {"text": f"rule {one.id} failed: {one.detail}"},
            "associatedRule": {"id": one.id},
        }
        for one in report.bugs
    ]
    invocation: dict[str, Any] = {"executionSuccessful": not report.bugs}
    if notifications:
        invocation["toolExecutionNotifications"] = notifications
    driver = {
        "name": "saleops",
        "version": __version__,
        "semanticVersion": __version__,
        "rules": [_descriptor(one) for one in rules],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "invocations": [invocation],
        "results": results,
    }
    log = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(log, indent=2, ensure_ascii=True) + "\n"


def _descriptor(rule: Rule) -> dict[str, Any]:
    text = f"{rule.why}\n\nWrite instead: {rule.fix}\n\nSource: {rule.source}"
    if rule.bad:
        text += f"\n\nBad:\n{rule.bad}"
    if rule.good:
        text += f"\n\nGood:\n{rule.good}"
    return {
        "id": rule.id,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.why},
        "help": {"text": text},
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
    }


def _result(
    finding: Finding, numbers: dict[str, int], suppressed: Suppressed | None
) -> dict[str, Any]:
    location = _artifact(finding.file)
    result: dict[str, Any] = {
        "ruleId": finding.id,
        "ruleIndex": numbers[finding.id],
        "level": _LEVELS[finding.severity],
        "message": {"text": f"{finding.message}. {finding.why} Write instead: {finding.fix}"},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": location,
                    "region": {"startLine": finding.line, "startColumn": finding.column},
                }
            }
        ],
    }
    if finding.edits:
        changes = [_replacement(one) for one in finding.edits]
        result["fixes"] = [
            {
                "description": {"text": finding.fix},
                "artifactChanges": [{"artifactLocation": location, "replacements": changes}],
            }
        ]
    if suppressed is not None:
        result["suppressions"] = [
            {
                "kind": "external" if suppressed.external else "inSource",
                "status": "accepted",
                "justification": f"{suppressed.reason} (until {suppressed.until}, {suppressed.by})",
            }
        ]
    return result


def _artifact(file: str) -> dict[str, str]:
    path = file.replace("\\", "/")
    uri = quote(path, safe="/._-~")
    return {"uri": f"file://{uri}" if path.startswith("/") else uri}


def _replacement(edit: Edit) -> dict[str, Any]:
    region = {
        "startLine": edit.line,
        "startColumn": edit.column,
        "endLine": edit.end_line,
        "endColumn": edit.end_column,
    }
    return {"deletedRegion": region, "insertedContent": {"text": edit.text}}


def junit(report: LintReport, seconds: float) -> str:
    """A suite for each file with findings, a case for each finding; those that are suppressed count as skipped."""
    from xml.etree.ElementTree import Element, SubElement, indent, tostring

    root = Element("testsuites", name="saleops lint", time=f"{seconds:.3f}")
    suites: dict[str, Any] = {}
    totals = {"tests": 0, "failures": 0, "skipped": 0, "errors": 0}

    def suite_of(file: str) -> Any:
        if file not in suites:
            suites[file] = SubElement(root, "testsuite", name=_xml(file))
        return suites[file]

    everything = sorted(
        [(one, None) for one in report.findings]
        + [(one.finding, one) for one in report.suppressed],
        key=lambda pair: (pair[0].file, pair[0].line, pair[0].column, pair[0].id),
    )
    for file, pairs in groupby(everything, key=lambda pair: pair[0].file):
        suite = suite_of(file)
        counts = {"tests": 0, "failures": 0, "skipped": 0, "errors": 0}
        for finding, hidden in pairs:
            counts["tests"] += 1
            name = f"{finding.id} line {finding.line}"
            case = SubElement(suite, "testcase", classname=_xml(file), name=name)
            if hidden is not None:
                counts["skipped"] += 1
                SubElement(case, "skipped", message=_xml(f"{hidden.reason} (until {hidden.until})"))
            else:
                counts["failures"] += 1
                kind = {"type": finding.severity, "message": _xml(finding.message)}
                failure = SubElement(case, "failure", kind)
                text = (
                    f"{file}:{finding.line}:{finding.column}\n{finding.why}\nfix: {finding.fix}\n"
                )
                failure.text = _xml(text)
        _count(suite, counts, totals)
    for bug in report.bugs:
        suite = suite_of("saleops")
        case = SubElement(suite, "testcase", classname="saleops", name=f"rule {bug.id}")
        SubElement(case, "error", message=_xml(bug.detail), type="bug")
        _count(suite, {"tests": 1, "failures": 0, "skipped": 0, "errors": 1}, totals)
    if not suites:
        suite = suite_of("saleops lint")
        SubElement(suite, "testcase", classname="saleops", name=f"{report.files} files")
        _count(suite, {"tests": 1, "failures": 0, "skipped": 0, "errors": 0}, totals)
    for name, number in totals.items():
        root.set(name, str(number))
    indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{tostring(root, encoding="unicode")}\n'


def _count(suite: Any, counts: dict[str, int], totals: dict[str, int]) -> None:
    for name, number in counts.items():
        suite.set(name, str(int(suite.get(name, "0")) + number))
        totals[name] += number


def _xml(text: str) -> str:
    """XML has no way to say most control characters."""
    return _NOT_XML.sub("?", text)
