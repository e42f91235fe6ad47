"""What import-linter cannot see: Lua headers, command pages, names of modules, docstrings of ports."""

import ast
import re
from pathlib import Path

import pytest

from saleops.cli.commands import COMMANDS, load_command
from saleops.cli.main import root_command

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "lua").rglob("*.lua"))
MODULES = sorted([*(ROOT / "src" / "saleops").rglob("*.py"), *(ROOT / "services").rglob("*.py")])
SLOT = re.compile(r"\b(KEYS|ARGV)\[(\d+)\]")
HEADER = re.compile(r"\A--\[\[\n(.*?)\n\]\]\n", re.DOTALL)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_there_are_scripts_and_modules_to_look_at() -> None:
    assert len(SCRIPTS) > 15
    assert len(MODULES) > 80


@pytest.mark.parametrize("script", SCRIPTS, ids=name_of)
def test_a_lua_header_names_the_slots_its_body_uses(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    header = HEADER.match(text)
    assert header, "a script opens with --[[ ... ]]"
    body = re.sub(r"--.*", "", text[header.end() :])
    described = {match.groups() for match in re.finditer(SLOT, header[1])}
    used = {match.groups() for match in re.finditer(SLOT, body)}
    dynamic = {"KEYS": "KEYS" in SLOT.sub("", body), "ARGV": "ARGV" in SLOT.sub("", body)}

    assert used <= described, "the body uses what the header does not name"
    for kind, number in described - used:
        assert dynamic[kind], f"{kind}[{number}] is described and never used"


@pytest.mark.parametrize("script", SCRIPTS, ids=name_of)
def test_a_lua_header_says_name_returns_and_cost(script: Path) -> None:
    header = HEADER.match(script.read_text(encoding="utf-8"))
    assert header
    name = script.relative_to(ROOT / "lua").with_suffix("").as_posix()

    assert header[1].startswith(f"{name}: ")
    assert re.search(r"^Returns\s", header[1], re.MULTILINE)
    assert re.search(r"^Cost\s", header[1], re.MULTILINE)
    assert "KEYS[1]" in header[1]


@pytest.mark.parametrize("script", SCRIPTS, ids=name_of)
def test_a_lua_script_takes_time_and_chance_from_outside(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    assert not re.search(r"""["']TIME["']|math\.random|os\.(time|clock)""", text)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_an_example(name: str) -> None:
    command = load_command(name, inherited=root_command().params)
    pages = [command, *getattr(command, "commands", {}).values()]

    assert COMMANDS[name].help.endswith(".")
    assert command.help
    assert any(
        re.search(rf"^Examples?:.*?saleops {name}", one.help or "", re.M | re.S) for one in pages
    )
    for one in pages:
        assert one.help
        assert all(param.help for param in one.params if getattr(param, "opts", None)), one.name


@pytest.mark.skipif(not (ROOT / "README.md").exists(), reason="README.md is not written yet")
@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("help", "completion")])
def test_every_command_has_a_readme_line(name: str) -> None:
    assert f"saleops {name}" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_no_module_is_named_after_nothing() -> None:
    assert [
        name_of(one) for one in MODULES if one.stem in ("utils", "common", "helpers", "misc")
    ] == []


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_every_module_says_what_it_is_for(module: Path) -> None:
    tree = ast.parse(module.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)


PORTS = sorted((ROOT / "src" / "saleops" / "ports").glob("*.py"))
SELF_EXPLANATORY = {"close", "ping"}
"""Methods whose name says all there is to say, where the port's docstring says what they raise."""


@pytest.mark.parametrize("module", PORTS, ids=name_of)
def test_ports_are_documented(module: Path) -> None:
    tree = ast.parse(module.read_text(encoding="utf-8"))
    missing = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and any(
            "Protocol" in ast.unparse(base) for base in node.bases
        ):
            methods = [
                one
                for one in node.body
                if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
                and not one.name.startswith("_")
                and one.name not in SELF_EXPLANATORY
                and not _is_property(one)
            ]
            if len(methods) == 1 and ast.get_docstring(node):
                continue  # the port is its one method
            missing += [f"{node.name}.{one.name}" for one in methods if not ast.get_docstring(one)]
    missing += [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert missing == []


def _is_property(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(ast.unparse(one) == "property" for one in node.decorator_list)
