"""Completion scripts for bash, zsh and fish: static text, so that TAB never starts Python.

``shape_of`` reads a command tree once, at build time; each shell's writer turns the shape into a script. The scripts are
checked in under ``cli/rendered`` and answered by the fast path.
"""

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import typer

from saleops.cli.context import context_of

Shell = Literal["bash", "zsh", "fish"]


@dataclass(frozen=True, slots=True)
class Flag:
    """One option: its spellings, whether a value follows, and the values there are (none: any, or a file)."""

    names: tuple[str, ...]
    help: str
    takes_value: bool
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Shape:
    """One command: the words that lead to it, its flags, its sub-commands, the words it takes as arguments."""

    path: tuple[str, ...]
    help: str
    flags: tuple[Flag, ...]
    commands: tuple["Shape", ...] = ()
    words: tuple[str, ...] = ()

    def walk(self) -> Iterator["Shape"]:
        yield self
        for one in self.commands:
            yield from one.walk()


app = typer.Typer()


@app.command()
def completion(
    ctx: typer.Context,
    shell: Annotated[Shell, typer.Argument(help="The shell to complete in.")],
) -> None:
    """Print a completion script.

    Examples:
      eval "$(saleops completion bash)"                      in ~/.bashrc
      saleops completion zsh > "${fpath[1]}/_saleops"
      saleops completion fish > ~/.config/fish/completions/saleops.fish
    """
    context_of(ctx).screen.write(script_of(shell, program_shape()))


def program_shape() -> Shape:
    """The shape of ``saleops``: every command of the table is loaded; one that cannot be is known by name alone."""
    from saleops.cli.commands import COMMANDS, load_command
    from saleops.cli.main import root_command
    from saleops.cli.topics import TOPICS

    root = root_command()
    below = []
    for name, entry in COMMANDS.items():
        try:
            command = load_command(name, inherited=root.params)
        except ModuleNotFoundError as error:
            if not (error.name or "").startswith("saleops."):
                raise
            below.append(Shape((name,), entry.help, ()))
            continue
        words = (*TOPICS, *COMMANDS) if name == "help" else ()
        below.append(shape_of(command, (name,), entry.help, words=words))
    return Shape((), "", _flags_of(root), tuple(below))


def shape_of(
    command: Any, path: tuple[str, ...], help_line: str, *, words: tuple[str, ...] = ()
) -> Shape:
    """The shape of a typer ``command`` that is reached by the words of ``path``."""
    for param in command.params:
        if param.param_type_name == "argument" and not words:
            words = tuple(str(one) for one in param.type_descriptor.choices or ())
    below = tuple(
        shape_of(one, (*path, name), _first_line(one.help))
        for name, one in getattr(command, "commands", {}).items()
        if not one.hidden
    )
    return Shape(path, help_line, _flags_of(command), below, words)


def _flags_of(command: Any) -> tuple[Flag, ...]:
    flags = [Flag(("--help", "-h"), "Show this message and exit.", takes_value=False)]
    for param in command.params:
        if param.param_type_name != "option" or param.hidden:
            continue
        names = (*param.opts, *param.secondary_opts)
        takes_value = not (param.is_flag or param.count)
        choices = tuple(str(one) for one in param.type_descriptor.choices or ())
        flags.append(Flag(names, _first_line(param.help), takes_value, choices))
    return tuple(flags)


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]


def script_of(shell: Shell, program: Shape) -> str:
    """The completion script of ``program`` for ``shell``."""
    writers: dict[str, Callable[[Shape], list[str]]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
    return "\n".join(writers[shell](program)) + "\n"


def _walking(indent: str, program: Shape, first: int) -> list[str]:
    """Lines of bash or zsh that walk the words typed so far and leave the sub-command's path in ``at``."""
    steps = [
        f'{indent}        "{" ".join((*shape.path, one.path[-1]))}") at="${{at:+$at }}$word" ;;'
        for shape in program.walk()
        for one in shape.commands
    ]
    takers = sorted(
        {
            name
            for shape in program.walk()
            for flag in shape.flags
            if flag.takes_value
            for name in flag.names
        }
    )
    return [
        f"{indent}for ((i = {first}; i < here; i++)); do",
        f'{indent}    word="${{words[i]}}"',
        f'{indent}    case "$word" in',
        f"{indent}        {'|'.join(takers) or '--'}) ((i++)); continue ;;",
        f"{indent}        -*) continue ;;",
        f"{indent}    esac",
        f'{indent}    case "${{at:+$at }}$word" in',
        *steps,
        f"{indent}    esac",
        f"{indent}done",
    ]


def _bash(program: Shape) -> list[str]:
    lines = [
        '# Completion of saleops for bash. In ~/.bashrc:  eval "$(saleops completion bash)"',
        "_saleops() {",
        '    local words=("${COMP_WORDS[@]}") here=$COMP_CWORD i word at="" flags="" rest=""',
        '    local current="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}"',
        "    COMPREPLY=()",
        *_walking("    ", program, 1),
        '    case "$at" in',
    ]
    values = []
    for shape in program.walk():
        at = " ".join(shape.path)
        flags = " ".join(name for flag in shape.flags for name in flag.names)
        rest = " ".join([*(one.path[-1] for one in shape.commands), *shape.words])
        lines.append(f'        "{at}") flags="{flags}"; rest="{rest}" ;;')
        for flag in shape.flags:
            if flag.takes_value:
                patterns = "|".join(f'"{at}:{name}"' for name in flag.names)
                words = f'$(compgen -W "{" ".join(flag.choices)}" -- "$current")'
                reply = f"COMPREPLY=({words})" if flag.choices else "compopt -o default 2>/dev/null"
                values.append(f"        {patterns}) {reply}; return ;;")
    return [
        *lines,
        "    esac",
        '    case "$at:$before" in',
        *values,
        "    esac",
        '    if [[ "$current" == -* ]]; then',
        '        COMPREPLY=($(compgen -W "$flags" -- "$current"))',
        '    elif [[ -n "$rest" ]]; then',
        '        COMPREPLY=($(compgen -W "$rest" -- "$current"))',
        "    else",
        "        compopt -o default 2>/dev/null",
        "    fi",
        "}",
        "complete -F _saleops saleops",
    ]


def _zsh(program: Shape) -> list[str]:
    lines = [
        "#compdef saleops",
        '# Completion of saleops for zsh:  saleops completion zsh > "${fpath[1]}/_saleops"',
        "_saleops() {",
        '    local here=$CURRENT i word at="" current="${words[CURRENT]}"',
        '    local before="${words[CURRENT-1]}"',
        "    local -a flags rest",
        *_walking("    ", program, 2),
        '    case "$at" in',
    ]
    values = []
    for shape in program.walk():
        at = " ".join(shape.path)
        flags = [_described(name, flag.help) for flag in shape.flags for name in flag.names]
        rest = [_described(one.path[-1], one.help) for one in shape.commands]
        rest += [shlex.quote(one) for one in shape.words]
        lines.append(f'        "{at}")')
        lines.append(f"            flags=({' '.join(flags)})")
        lines.append(f"            rest=({' '.join(rest)}) ;;")
        for flag in shape.flags:
            if flag.takes_value:
                patterns = "|".join(f'"{at}:{name}"' for name in flag.names)
                reply = f"compadd -- {' '.join(flag.choices)}" if flag.choices else "_files"
                values.append(f"        {patterns}) {reply}; return ;;")
    return [
        *lines,
        "    esac",
        '    case "$at:$before" in',
        *values,
        "    esac",
        '    if [[ "$current" == -* ]]; then',
        "        _describe 'option' flags",
        "    elif (( ${#rest} )); then",
        "        _describe 'command' rest",
        "    else",
        "        _files",
        "    fi",
        "}",
        'if [ "$funcstack[1]" = "_saleops" ]; then _saleops "$@"; else compdef _saleops saleops; fi',
    ]


def _described(word: str, text: str) -> str:
    return shlex.quote(f"{word.replace(':', chr(92) + ':')}:{text}" if text else word)


def _fish(program: Shape) -> list[str]:
    lines = [
        "# Completion of saleops for fish:",
        "#   saleops completion fish > ~/.config/fish/completions/saleops.fish",
        "function __saleops_at",
        "    # Whether the words typed so far lead to exactly this command.",
        "    set -l at",
        "    set -l skip 0",
        "    for word in (commandline -opc)[2..-1]",
        "        if test $skip = 1",
        "            set skip 0",
        "            continue",
        "        end",
        "        switch $word",
    ]
    takers = sorted(
        {
            name
            for shape in program.walk()
            for flag in shape.flags
            if flag.takes_value
            for name in flag.names
        }
    )
    paths = [" ".join(one.path) for shape in program.walk() for one in shape.commands]
    lines += [
        f"            case {' '.join(takers)}",
        "                set skip 1",
        "            case '-*'",
        "            case '*'",
        '                set -l path (string join " " $at $word)',
        f'                if contains -- "$path" {_quoted_all(paths)}',
        "                    set -a at $word",
        "                end",
        "        end",
        "    end",
        '    test "$at" = "$argv"',
        "end",
        "complete -c saleops -f -n '__saleops_at'",
    ]
    for shape in program.walk():
        here = shlex.quote(f"__saleops_at {' '.join(shape.path)}".rstrip())
        for one in shape.commands:
            lines.append(
                f"complete -c saleops -f -n {here} -a {one.path[-1]} -d {shlex.quote(one.help)}"
            )
        if shape.words:
            lines.append(f"complete -c saleops -f -n {here} -a {_quoted(shape.words)}")
        for flag in shape.flags:
            spelled = " ".join(
                f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}"
                for name in flag.names
            )
            value = " -r" if flag.takes_value else ""
            if flag.choices:
                value = f" -x -a {_quoted(flag.choices)}"
            words = shlex.quote(flag.help)
            lines.append(f"complete -c saleops -n {here} {spelled}{value} -d {words}")
    return lines


def _quoted(words: tuple[str, ...]) -> str:
    return shlex.quote(" ".join(words))


def _quoted_all(words: list[str]) -> str:
    return " ".join(shlex.quote(one) for one in words)
