"""The documentation says what is so: its links lead somewhere, its commands run, its JSON pages name every field."""

import ast
import dataclasses
import importlib
import importlib.util
import pkgutil
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, get_origin, get_type_hints
from xml.etree import ElementTree

import msgspec
import pytest

from saleops.cli.commands import COMMANDS
from saleops.domain.ledger import BREAK_KINDS
from saleops.domain.letters import Letter
from saleops.domain.traffic import LoadShape
from saleops.domain.verdict import Check
from saleops.operations.audit import Run
from saleops.operations.loadtest import LoadReport
from saleops.operations.provision.drift import Drift
from saleops.operations.recheck import RecheckItem
from saleops.operations.rehearse_cloud import CloudFigures

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PICTURES = ROOT / "docs" / "pictures"
PAGES = sorted(
    [README, ROOT / "CHANGELOG.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")]
)
SAFE = {"--help", "--version", "help", "schema", "completion", "init"}
"""Commands of the README that a test may run: they touch nothing but the folder they stand in."""

PARTS: dict[type, str] = {
    Check: "A check",
    LoadReport: "Load",
    LoadShape: "Shape",
    Letter: "Letter",
    Run: "Run",
    RecheckItem: "Recheck item",
    Drift: "Drifted field",
    CloudFigures: "A practised cloud",
}
"""Types that docs/json.md describes once, under a heading of their own."""


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))


def slug_of(heading: str) -> str:
    """The anchor that a forge gives a heading."""
    kept = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower())
    return kept.replace(" ", "-")


def anchors_of(path: Path) -> set[str]:
    prose = re.sub(r"^```.*?^```", "", text_of(path), flags=re.M | re.S)
    return {slug_of(heading) for heading in re.findall(r"^#+ (.+)$", prose, flags=re.M)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(text_of(page))):
        if target.startswith(("https://", "http://", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists() or (anchor and anchor not in anchors_of(file)):
            dead.append(target)

    assert dead == []


def console_lines() -> Iterator[str]:
    """What the README's console blocks type, continued lines joined."""
    for block in re.findall(r"^```console\n(.*?)^```", text_of(README), flags=re.M | re.S):
        for line in re.sub(r"\\\n\s*", "", block).splitlines():
            if line.startswith("$ saleops"):
                yield line.removeprefix("$ ")


def test_the_readme_types_commands_that_exist() -> None:
    typed = [shlex.split(line)[1] for line in console_lines()]

    assert {word for word in typed if not word.startswith("-")} <= set(COMMANDS)
    assert {"init", "serve", "seed", "prewarm", "loadtest", "reconcile"} <= set(typed)


def test_the_readme_s_safe_commands_run(tmp_path: Path) -> None:
    failed = {}
    ran = 0
    for line in dict.fromkeys(console_lines()):
        words = shlex.split(line)[1:]
        if words[0] in SAFE or "--dry-run" in words:
            done = subprocess.run(
                [sys.executable, "-m", "saleops", *words],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            ran += 1
            if done.returncode:
                failed[line] = done.stderr

    assert failed == {}
    assert ran >= 7
    assert (tmp_path / "sale.yaml").exists()


def test_every_command_has_a_line_in_the_readme() -> None:
    rows = re.findall(r"^\| `saleops ([a-z]+)` \|", text_of(README), flags=re.M)

    assert rows == [*COMMANDS]


def test_the_tests_that_the_readme_names_exist() -> None:
    missing = []
    for path, word in re.findall(r"`pytest (tests/\S+?)(?: -k (\w+))?`", text_of(README)):
        place = ROOT / path
        if not place.exists():
            missing.append(path)
        elif word and not re.search(rf"def test_\w*{word}", text_of(place)):
            missing.append(f"{path} -k {word}")

    assert missing == []


def test_the_make_targets_that_the_docs_name_exist() -> None:
    targets = set(re.findall(r"^([a-z0-9]+):", text_of(ROOT / "Makefile"), flags=re.M))
    named = {
        word for page in PAGES for word in re.findall(r"\bmake ([a-z0-9]+)`", text_of(page))
    } | set(
        re.findall(
            r"^\| `([a-z0-9]+)` \|", text_of(README).partition("## Development")[2], flags=re.M
        )
    )

    assert named <= targets


# -- docs/json.md ------------------------------------------------------------------------------------------------------


@cache
def documents() -> dict[str, type]:
    """schema -> the type it is made from, for every document of the code."""
    found: dict[str, type] = {}
    for package in ("operations", "cli", "domain", "ports"):
        for module in _modules(f"saleops.{package}"):
            for value in vars(module).values():
                if isinstance(value, type) and value.__module__ == module.__name__:
                    schema = _schema_of(value)
                    if schema.startswith("saleops/"):
                        found[schema] = value
    return found


def _modules(package: str) -> Iterator[ModuleType]:
    path = importlib.import_module(package).__path__
    for found in pkgutil.iter_modules(path):
        yield importlib.import_module(f"{package}.{found.name}")
        if found.ispkg:
            yield from _modules(f"{package}.{found.name}")


def _schema_of(kind: type) -> str:
    own = vars(kind).get("schema")
    if isinstance(own, str):
        return own
    if hasattr(kind, "__struct_fields__"):
        for field in msgspec.structs.fields(kind):
            if field.name == "schema":
                return str(field.default)
    return ""


def fields_of(kind: type, prefix: str = "") -> Iterator[str]:
    """The fields of a document, dotted; what has a heading of its own stands for itself."""
    hints = get_type_hints(kind)
    struct = hasattr(kind, "__struct_fields__")
    names = kind.__struct_fields__ if struct else [one.name for one in dataclasses.fields(kind)]  # type: ignore[attr-defined,arg-type]
    for name in names:
        if name == "schema":
            continue
        yield prefix + name
        hint: Any = hints[name]
        many = get_origin(hint) in (list, tuple)
        inner = get_args(hint)[0] if many else hint
        if inner in PARTS or inner in documents().values() or not isinstance(inner, type):
            continue
        if dataclasses.is_dataclass(inner) or hasattr(inner, "__struct_fields__"):
            yield from fields_of(inner, f"{prefix}{name}{'[]' if many else ''}.")


def sections() -> dict[str, list[str]]:
    """heading -> the fields that its table names."""
    parts = re.split(r"^## (.+)\n", text_of(ROOT / "docs" / "json.md"), flags=re.M)[1:]
    return {
        heading: re.findall(r"^\| `([^`]+)` \|", body, flags=re.M)
        for heading, body in zip(parts[::2], parts[1::2], strict=True)
    }


def test_json_md_names_every_schema_of_the_code() -> None:
    in_code = set()
    for file in (ROOT / "src" / "saleops").rglob("*.py"):
        for node in ast.walk(ast.parse(text_of(file))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                in_code.update(re.findall(r"^saleops/[a-z0-9-]+/v\d+$", node.value))

    described = {heading for heading in sections() if heading.startswith("saleops/")}
    assert described == in_code - {"saleops/profile/v1"}  # of a file that is read, not printed
    assert set(documents()) <= described


@pytest.mark.parametrize("schema", sorted(documents()))
def test_json_md_names_every_field(schema: str) -> None:
    assert sections()[schema] == list(fields_of(documents()[schema]))


@pytest.mark.parametrize("kind", PARTS, ids=lambda kind: kind.__name__)
def test_json_md_describes_the_parts_that_documents_share(kind: type) -> None:
    assert sections()[PARTS[kind]] == list(fields_of(kind))


def test_json_md_names_every_kind_of_break() -> None:
    page = text_of(ROOT / "docs" / "json.md")

    assert [kind for kind, said in BREAK_KINDS.items() if f"| {kind} | {said} |" not in page] == []


# -- pictures ----------------------------------------------------------------------------------------------------------


def pictures() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_pictures_make", PICTURES / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["help", "mistakes"])
def test_pictures_show_what_saleops_prints_now(name: str) -> None:
    drawn = pictures().PICTURES[name]()

    hint = "run `python docs/pictures/make.py help mistakes`"
    assert drawn == text_of(PICTURES / f"{name}.svg"), hint


def test_the_picture_of_a_rehearsal_shows_every_step_and_go() -> None:
    shown = text_of(PICTURES / "rehearse.svg").replace("&#160;", " ")

    for word in ("seed", "prewarm", "load", "drain", "reconcile", "the ledger balances", ">GO "):
        assert word in shown


@pytest.mark.parametrize("picture", sorted(PICTURES.glob("*.svg")), ids=lambda path: path.stem)
def test_pictures_load_nothing_from_elsewhere(picture: Path) -> None:
    text = text_of(picture)
    root = ElementTree.fromstring(text)

    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert not re.search(r"@import|@font-face|<script|<image|url\((?!#)", text)
    assert [name for node in root.iter() for name in node.attrib if "href" in name] == []


# -- the repository speaks of the product alone -------------------------------------------------------------------------

_FOREIGN = re.compile(
    # Spelled so that this file does not find itself.
    r"/(?:work|root)/|/tmp/(?:brief|doc)|\bP[yY]P[iI]\b mirror|artifactory|\.internal\b",
)
_TEXT = {
    ".py",
    ".md",
    ".toml",
    ".yaml",
    ".yml",
    ".lua",
    ".json",
    ".svg",
    ".txt",
    ".csv",
    ".ansi",
    "",
}
_SKIPPED = {".git", ".venv", ".saleops", "build", "dist", "__pycache__", ".hypothesis"}


def test_nothing_names_the_machine_it_was_written_on() -> None:
    found = []
    for file in ROOT.rglob("*"):
        parts = file.relative_to(ROOT).parts
        if any(part in _SKIPPED or part.endswith(("_cache", ".egg-info")) for part in parts):
            continue
        if file == Path(__file__).resolve() or file.suffix not in _TEXT or not file.is_file():
            continue
        for number, line in enumerate(text_of(file).splitlines(), start=1):
            if _FOREIGN.search(line):
                found.append(f"{file.relative_to(ROOT)}:{number}: {line.strip()[:100]}")

    assert found == []


def test_the_licence_is_the_one_the_package_declares() -> None:
    licence = text_of(ROOT / "LICENSE")

    assert 'license = "Apache-2.0"' in text_of(ROOT / "pyproject.toml")
    assert "Apache License" in licence
    assert "Version 2.0, January 2004" in licence
    assert "END OF TERMS AND CONDITIONS" in licence
