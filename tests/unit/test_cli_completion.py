"""Completion scripts: what each shell offers at TAB, asked of the shells themselves."""

import shutil
import subprocess
from typing import Annotated, Literal

import pytest
import typer

from saleops.cli.commands import COMMANDS
from saleops.cli.completion import Flag, Shape, program_shape, script_of, shape_of

PROGRAM = Shape(
    (),
    "",
    (Flag(("--output", "-o"), "Format.", takes_value=True, choices=("table", "json")),),
    (
        Shape(
            ("seed",),
            "Put it's units: on sale.",
            (Flag(("--units",), "How many.", takes_value=True),),
        ),
        Shape(
            ("prewarm",),
            "Warm.",
            (),
            (Shape(("prewarm", "cache"), "Cache.", (Flag(("--ttl",), "", takes_value=True),)),),
        ),
        Shape(("help",), "Explain.", (), words=("exit-codes", "seed")),
    ),
)


def bash(line: str) -> list[str]:
    """What bash offers after ``line``."""
    words = line.split(" ")
    quoted = " ".join(f"'{word}'" for word in words)
    code = (
        f"{script_of('bash', PROGRAM)}\nCOMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}\n"
        'compopt() { :; }; _saleops; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stderr == ""
    return done.stdout.split()


def zsh(line: str) -> list[str]:
    """What zsh offers after ``line``; its completion system is replaced by functions that print."""
    words = line.split(" ")
    quoted = " ".join(f"'{word}'" for word in words)
    code = f"""
compdef() {{ :; }}
_files() {{ :; }}
offer() {{ for one in "$@"; do [[ "$one" == "$current"* ]] && print -r -- "$one"; done; true; }}
_describe() {{ local -a all; all=("${{(@P)2}}"); offer "${{all[@]%%:*}}"; }}
compadd() {{ shift; offer "$@"; }}
{script_of("zsh", PROGRAM)}
words=({quoted}); CURRENT={len(words)}
_saleops
"""
    done = subprocess.run(["zsh", "-f", "-c", code], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def fish(line: str) -> list[str]:
    """What fish offers after ``line``, in our order; files are left out."""
    code = f"{script_of('fish', PROGRAM)}\ncomplete -C '{line}'"
    done = subprocess.run(
        ["fish", "--no-config", "-c", code],
        capture_output=True,
        text=True,
        timeout=30,
        cwd="/proc/self/fdinfo",
    )
    assert (done.returncode, done.stderr) == (0, "")
    return [line.split("\t")[0] for line in done.stdout.splitlines()]


SHELLS = {"bash": bash, "zsh": zsh, "fish": fish}


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("saleops ", ["seed", "prewarm", "help"]),
        ("saleops s", ["seed"]),
        ("saleops prewarm ", ["cache"]),
        ("saleops prewarm cache --", ["--ttl"]),
        ("saleops -o ", ["table", "json"]),
        ("saleops -o j", ["json"]),
        ("saleops -o json se", ["seed"]),
        ("saleops -o seed pre", ["prewarm"]),
        ("saleops seed --un", ["--units"]),
        ("saleops seed --units ", []),
        ("saleops seed sale.yaml --un", ["--units"]),
        ("saleops help ex", ["exit-codes"]),
        ("saleops nonsense --o", ["--output"]),
    ],
)
def test_a_shell_offers(shell: str, line: str, offered: list[str]) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not here: apt-get install {shell}")
    shown = [word for word in SHELLS[shell](line) if not word.isdigit()]

    assert sorted(shown) == sorted(offered)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_can_read_its_script(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not here: apt-get install {shell}")
    for program in (PROGRAM, program_shape()):
        flags = ["--no-execute"] if shell == "fish" else ["-n"]
        done = subprocess.run(
            [shell, *flags],
            input=script_of(shell, program),  # type: ignore[arg-type]
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_command_is_in_every_script(shell: str) -> None:
    script = script_of(shell, program_shape())  # type: ignore[arg-type]

    assert [name for name in COMMANDS if name not in script] == []


def test_the_shape_of_a_command_has_its_flags_and_choices() -> None:
    app = typer.Typer()

    @app.command()
    def serve(
        service: Annotated[Literal["all", "order"], typer.Argument()],
        port: Annotated[int, typer.Option("--port", "-p", help="Where.")] = 1,
        fast: Annotated[bool, typer.Option("--fast/--slow")] = False,
        secret: Annotated[str, typer.Option(hidden=True)] = "",
    ) -> None: ...

    shape = shape_of(typer.main.get_command(app), ("serve",), "Serve.")

    assert shape.words == ("all", "order")
    flags = {flag.names: flag for flag in shape.flags}
    assert flags[("--port", "-p")].takes_value
    assert not flags[("--fast", "--slow")].takes_value
    assert ("--secret",) not in flags
