"""The only printer. Results go to stdout (or to ``--out``); everything else goes to stderr.

``show(result)`` prints a result in the format of ``-o``; ``observe(event)`` shows how work goes on; ``note(text)`` says a
sentence to people; ``confirm(question)`` asks them. Whether a stream is a terminal is asked when something is shown,
and rich is imported only for a terminal, so a command in a pipe never pays for it. Passwords in URLs are masked in
everything that goes to people.
"""

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from saleops import __version__
from saleops.cli.documents import document_of
from saleops.cli.sheets import Sheet, as_brief, as_rich, draw, lines_of
from saleops.cli.terminal import (
    OutputClosed,
    is_interactive,
    wants_ascii,
    wants_color,
    write_text,
)
from saleops.cli.words import masked, sentence
from saleops.errors import ConfigError, Refused
from saleops.events import Event

if TYPE_CHECKING:
    from saleops.cli.progress import Display, Stream

__all__ = ["Screen", "Sheet", "as_rich"]


class Screen:
    """Prints for one call of one command. ``stdin``, ``stdout`` and ``stderr`` are the process's own unless given."""

    def __init__(
        self,
        *,
        stdin: IO[str] | None = None,
        stdout: IO[str] | None = None,
        stderr: IO[str] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._streams = (stdin, stdout, stderr)
        self._environ = os.environ if environ is None else environ
        self.output = "table"
        self.out: Path | None = None
        self.quiet = False
        self.verbose = 0
        self.color = "auto"
        self._display: Display | None = None
        self._events: Stream | None = None
        self._stream: IO[str] | None = None  # --out, open while ndjson lines go to it
        self._versioned = False
        self._shown = False

    def configure(
        self, *, output: str, out: Path | None, quiet: bool, verbose: int, color: str
    ) -> None:
        """Take the options of the command line; called before anything is shown."""
        self.output, self.out, self.quiet, self.verbose, self.color = (
            output,
            out,
            quiet,
            verbose,
            color,
        )
        self.close()

    # Results

    def show(self, result: object) -> None:
        """Print ``result`` on stdout: a table for people, one document for machines.

        Raises OutputClosed when the reader has gone, ConfigError when ``--out`` cannot be written, and TypeError for a
        result without a schema or a second document: the caller has a bug.
        """
        self._put_away()
        document = document_of(result)
        if self._shown and self.output != "table":
            raise TypeError(f"-o {self.output} prints one document, and one was printed already")
        self._shown = True
        if self.output == "ndjson":
            self._emit({"type": "result", "result": document})
        elif self.output == "table":
            self._show_to_people(result)
        else:
            self._write_result(self._dumped(document))
        if self.out is not None:
            self.note(f"The result is in {self.out}.")

    def write(self, text: str) -> None:
        """Print ``text`` itself as the result (a template, a script, a schema), untouched by ``-o``."""
        self._put_away()
        self._write_result(text)

    def _dumped(self, document: dict[str, Any]) -> str:
        if self.output == "yaml":
            import yaml

            unicode = not self._ascii_data()
            return yaml.safe_dump(document, sort_keys=False, allow_unicode=unicode, width=2**16)
        text = json.dumps(document, indent=2, ensure_ascii=self._ascii_data(), allow_nan=False)
        return f"{text}\n"

    def _ascii_data(self) -> bool:
        """Whether documents must escape what is not ASCII: the encoding of stdout has no other way to say it."""
        return self.out is None and wants_ascii(self.stdout, {})

    def _show_to_people(self, result: object) -> None:
        if self.out is not None or not is_interactive(self.stdout, self._environ):
            lines = lines_of(as_rich(result))
            self._write_result("".join(f"{line}\n" for line in lines))
            return
        shown = as_rich(result) if self.verbose else as_brief(result)
        ascii_only = wants_ascii(self.stdout, self._environ)
        console = self._console(self.stdout)
        with console.capture() as captured:  # ours is the write that knows a closed pipe
            console.print(draw(shown, ascii_only=ascii_only))
        write_text(self.stdout, captured.get(), self._environ)

    def _write_result(self, text: str) -> None:
        if self.out is None:
            write_text(self.stdout, text, self._environ if self.output == "table" else {})
        else:
            _replace_file(self.out, text)

    # How work goes on

    def observe(self, event: Event) -> None:
        """Show ``event``: on stderr for people, and in the stream of ``-o ndjson``. An Observer."""
        if self.output == "ndjson":
            if self._events is None:
                from saleops.cli.progress import Stream

                self._events = Stream(self._emit)
            self._events(event)
        if self._display is None:
            self._display = self._choose_display()
        self._display(event)

    def emit(self, record: Mapping[str, Any]) -> None:
        """Add a record of a command's own (``{"type": "sample", ...}``) to ``-o ndjson``; elsewhere nothing happens."""
        if self.output == "ndjson":
            self._emit(dict(record))

    def _choose_display(self) -> "Display":
        # Loaded when there is something to show: many commands have nothing to tell but their result.
        from saleops.cli.progress import Bars, Lines, Nothing

        people = is_interactive(self.stderr, self._environ)
        if self.quiet or (self.output == "ndjson" and (not people or self._stdout_is_people())):
            return Nothing()  # in ndjson the events themselves are the news
        if not people:
            return Lines(self._say)
        ascii_only = wants_ascii(self.stderr, self._environ)
        return Bars(self._console(self.stderr), ascii_only=ascii_only)

    def _stdout_is_people(self) -> bool:
        return self.out is None and is_interactive(self.stdout, self._environ)

    def _emit(self, record: dict[str, Any]) -> None:
        lines = [record]
        if not self._versioned:
            self._versioned = True
            version = {"type": "version", "ui": "1.0", "saleops": __version__}
            lines.insert(0, {**version, "schema": "saleops/event/v1"})
        text = "".join(
            json.dumps(one, ensure_ascii=self._ascii_data(), default=str) + "\n" for one in lines
        )
        if self.out is None:
            write_text(self.stdout, text, {})
            return
        try:
            if self._stream is None:
                self._stream = self.out.open("w", encoding="utf-8")
            self._stream.write(text)
            self._stream.flush()
        except OSError as error:
            raise _unwritable(self.out, error) from error

    # Words to people

    def note(self, text: str) -> None:
        """Say a sentence on stderr; not under ``-q``."""
        if self.quiet:
            return
        say = getattr(self._display, "say", None)  # bars must be lifted out of the way first
        if say is not None:
            say(sentence(text))
        else:
            self._say(f"{sentence(text)}\n")

    def detail(self, text: str) -> None:
        """Say something only ``-v`` wants to know."""
        if self.verbose:
            self.note(text)

    def confirm(self, question: str, *, yes: bool, flag: str = "--yes") -> None:
        """Return if ``yes``, ``SALEOPS_YES=1`` or a person agrees; else raise Refused, and the caller does nothing.

        Without a terminal no question is ever asked.
        """
        if yes or self._environ.get("SALEOPS_YES", "").lower() in ("1", "true", "yes", "on"):
            return
        self._put_away()
        question = sentence(question)
        if not all(is_interactive(one, self._environ) for one in (self.stdin, self.stderr)):
            raise Refused(
                f"{question} Nobody is here to confirm; nothing was changed",
                hint=f"Run the same command with {flag} to go ahead.",
            )
        width = shutil.get_terminal_size().columns
        asked = textwrap.wrap(
            f"{question} [y/N]", max(width - 1, 20), break_long_words=False, break_on_hyphens=False
        )
        self._say("\n".join(asked) + " ")
        answer = self.stdin.readline()
        if not answer:
            self._say("\n")
        if answer.strip().lower() not in ("y", "yes"):
            raise Refused("not confirmed; nothing was changed", hint=f"Answer y, or use {flag}.")

    def fail(
        self,
        message: str,
        *,
        hint: str | None,
        exit_code: int,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        """Print an error: what failed, then what to do next. Machines also get it as one JSON line, the last one, with what
        ``more`` is known of it."""
        self._put_away()
        message, hint = masked(message), masked(hint) if hint else None
        words = [("error:", "1;31", message)]
        if hint:
            words.append(("hint:", "1;36", hint))
        color = wants_color(self.stderr, self.color, self._environ)
        for label, code, text in words:
            head = f"\x1b[{code}m{label}\x1b[0m" if color else label
            body = sentence(text).replace("\n", "\n       ")
            self._say(f"{head}{' ' * (7 - len(label))}{body}\n")
        error = {"message": message, "hint": hint, "exit_code": exit_code, **(more or {})}
        document = {"schema": "saleops/error/v1", "error": error}
        if self.output == "json":
            self._say(json.dumps(document, ensure_ascii=False) + "\n")
        elif self.output == "ndjson":
            self._emit({"type": "error", **document})

    def close(self) -> None:
        """Give the terminal back and close ``--out``."""
        self._put_away()
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    # Streams

    @property
    def stdin(self) -> IO[str]:
        return self._streams[0] or sys.stdin

    @property
    def stdout(self) -> IO[str]:
        return self._streams[1] or sys.stdout

    @property
    def stderr(self) -> IO[str]:
        return self._streams[2] or sys.stderr

    def _put_away(self) -> None:
        if self._display is not None:
            self._display.close()
            self._display = None

    def _say(self, text: str) -> None:
        """Write to stderr. Work goes on when nobody reads it any more."""
        try:
            write_text(self.stderr, text, self._environ)
        except OutputClosed:
            return

    def _console(self, stream: IO[str]) -> Any:
        from rich.console import Console

        color = wants_color(stream, self.color, self._environ)
        return Console(
            file=stream,
            force_terminal=is_interactive(stream, self._environ),
            color_system="auto" if color else None,
            highlight=False,
            legacy_windows=False,
        )


def _replace_file(path: Path, text: str) -> None:
    """Write the file ``path`` whole or not at all; a pipe or a device is written to. Raises ConfigError."""
    try:
        path = path.resolve()  # a symbolic link stays one
        if path.exists() and not path.is_file():
            path.write_text(text, encoding="utf-8")
            return
        import tempfile

        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            os.chmod(name, 0o666 & ~_umask())
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise _unwritable(path, error) from error


def _umask() -> int:
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


def _unwritable(path: Path, error: OSError) -> ConfigError:
    reason = error.strerror or str(error)
    return ConfigError(f"cannot write {path}: {reason}", hint="Give --out a file you may write.")
