"""Terraform or OpenTofu as a program: started, listened to, stopped in an orderly way.

The program runs in a session of its own, so that the Ctrl-C of a terminal reaches us alone. We pass on one interrupt, after
which it finishes the step it is in and writes its state; a second one would make it drop both, so later ones only say so.
With ``-json`` each line it prints is an event: progress, a diagnostic, the summary. What it needs to sign is in its
environment and nowhere else: not in arguments, not in files, not in what is logged.
"""

import contextlib
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

from saleops.adapters.terraform_words import JsonWords, PlainWords
from saleops.errors import ConfigError, UpstreamError
from saleops.events import Event, Finished, Observer, Started, Warned
from saleops.ports.terraform import SavedPlan

Tool = Literal["terraform", "tofu"]
TOOLS: tuple[Tool, ...] = ("terraform", "tofu")
VERSION_MIN = (1, 5)
"""The first with everything the module uses; OpenTofu begins at 1.6."""

VERSION_TIMEOUT_S = 30.0
INIT_TIMEOUT_S = 600.0  # a provider of about 100 MB may have to be fetched
PLAN_TIMEOUT_S = 900.0
APPLY_TIMEOUT_S = 3600.0
READ_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 300.0  # a cloud's step takes minutes, and its id is lost with the program
KILL_TIMEOUT_S = 10.0
LOCK_TIMEOUT = "30s"
PLAN_FILE = "sale.tfplan"
STATE_FILE = "terraform.tfstate"

# Variables that would change what our commands do or say; TF_VAR_ would overrule the sale's values.
_DROPPED = re.compile(
    r"TF_(CLI_ARGS.*|VAR_.*|WORKSPACE|DATA_DIR|LOG.*|INPUT|IN_AUTOMATION|REATTACH.*)"
)
_CREDENTIALS = re.compile(r"(ALICLOUD|ALIBABACLOUD|ALIBABA_CLOUD)_.*")
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True)
class Installed:
    """A program that was found. ``version`` is as it says."""

    tool: Tool
    path: str
    version: str


@dataclass(frozen=True, slots=True)
class SignAs:
    """What the provider signs with; shown nowhere."""

    access_key_id: str = field(repr=False)
    access_key_secret: str = field(repr=False)
    security_token: str = field(default="", repr=False)
    region: str = ""

    @property
    def environment(self) -> dict[str, str]:
        named = {
            "ALICLOUD_ACCESS_KEY": self.access_key_id,
            "ALICLOUD_SECRET_KEY": self.access_key_secret,
            "ALICLOUD_SECURITY_TOKEN": self.security_token,
            "ALICLOUD_REGION": self.region,
        }
        return {name: value for name, value in named.items() if value}


def find_installed(tools: Sequence[Tool] = TOOLS) -> Installed | None:
    """The first of ``tools`` that is installed; None where none is. Raises ConfigError for one that is too old or broken."""
    for tool in tools:
        path = shutil.which(tool)
        if path is not None:
            return Installed(tool, path, _version(tool, path))
    return None


def _version(tool: Tool, path: str) -> str:
    try:
        done = subprocess.run(
            [path, "version", "-json"],
            capture_output=True,
            timeout=VERSION_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            env=_environment({}),
            check=False,
        )
        said = str(json.loads(done.stdout)["terraform_version"])
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} does not say its version; nothing was changed",
            hint=f"Install {tool} again, or add --with api.",
        ) from error
    match = _VERSION.match(said)
    if match is None or (int(match[1]), int(match[2])) < VERSION_MIN:
        wanted = ".".join(map(str, VERSION_MIN))
        raise ConfigError(
            f"{tool} {said} is too old: {wanted} or later is needed; nothing was changed",
            hint=f"Install {tool} {wanted} or later, or add --with api.",
        )
    return said


class TerraformCli:
    """``installed`` at work in ``folder``, signing as ``sign_as`` says."""

    def __init__(self, installed: Installed, folder: Path, sign_as: SignAs | None = None) -> None:
        self._installed = installed
        self._folder = folder
        self._environment = _environment(sign_as.environment if sign_as else {})
        self._secrets = (
            tuple(one for one in (sign_as.access_key_secret, sign_as.security_token) if one)
            if sign_as
            else ()
        )

    @property
    def tool(self) -> str:
        return self._installed.tool

    @property
    def version(self) -> str:
        return self._installed.version

    @property
    def folder(self) -> Path:
        return self._folder

    def prepare(self, *, observe: Observer) -> None:
        task = f"{self.tool} init"
        observe(Started(task))
        plain = PlainWords(task, observe)
        code = self._run(
            ("init", "-input=false", "-no-color"), plain, timeout_s=INIT_TIMEOUT_S, observe=observe
        )
        observe(Finished(task, ok=code == 0))
        if code:
            raise self._failed(
                "init",
                plain.message,
                "nothing was changed",
                "It fetches the provider from its registry: is that reachable? `--with api` needs none.",
            )

    def plan(self, *, observe: Observer) -> SavedPlan:
        task = f"{self.tool} plan"
        observe(Started(task))
        heard = JsonWords(task, observe)
        code = self._run(
            ("plan", "-json", "-input=false", f"-lock-timeout={LOCK_TIMEOUT}", f"-out={PLAN_FILE}"),
            heard,
            timeout_s=PLAN_TIMEOUT_S,
            observe=observe,
        )
        observe(Finished(task, ok=code == 0 and not heard.errors))
        if code or heard.errors:
            raise self._failed(
                "plan",
                heard.message,
                "nothing was changed",
                "Mend what it says, or add --with api.",
            )
        with contextlib.suppress(OSError):
            os.chmod(self._folder / PLAN_FILE, 0o600)
        counts = heard.counts
        return SavedPlan(
            PLAN_FILE,
            int(counts.get("add", 0)),
            int(counts.get("change", 0)),
            int(counts.get("remove", 0)),
            tuple(heard.planned),
        )

    def apply(self, plan: SavedPlan, *, observe: Observer, timeout_s: float | None = None) -> None:
        task = f"{self.tool} apply"
        observe(Started(task, plan.add + plan.change + plan.remove, "changes"))
        heard = JsonWords(task, observe)
        code = self._run(
            ("apply", "-json", "-input=false", f"-lock-timeout={LOCK_TIMEOUT}", plan.file),
            heard,
            timeout_s=timeout_s or APPLY_TIMEOUT_S,
            observe=observe,
        )
        observe(Finished(task, f"{heard.done} done", ok=code == 0))
        if code:
            raise self._failed(
                "apply",
                heard.message,
                f"{heard.done} of {plan.add + plan.change + plan.remove} changes were made, and stay",
                "Mend what it says and run the same command again: it goes on from there.",
            )

    def outputs(self) -> Mapping[str, Any]:
        try:
            done = subprocess.run(
                [self._installed.path, "output", "-json", "-no-color"],
                cwd=self._folder,
                capture_output=True,
                timeout=READ_TIMEOUT_S,
                stdin=subprocess.DEVNULL,
                env=self._environment,
                check=True,
            )
            document = json.loads(done.stdout)
            return {
                name: one["value"] for name, one in document.items() if not one.get("sensitive")
            }
        except subprocess.CalledProcessError as error:
            plain = PlainWords("", _nobody)
            for line in error.stderr.decode("utf-8", "replace").splitlines():
                plain(line)
            raise self._unread(plain.message) from error
        except (subprocess.TimeoutExpired, OSError, ValueError, KeyError, AttributeError) as error:
            raise self._unread(f"{type(error).__name__}") from error

    def _unread(self, said: str) -> UpstreamError:
        return self._failed(
            "output", said, "nothing was changed by it", "Run the same command again."
        )

    def ids(self) -> frozenset[str]:
        path = self._folder / STATE_FILE
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            found = {
                str(instance["attributes"]["id"])
                for one in document.get("resources") or ()
                if one.get("mode") == "managed"
                for instance in one.get("instances") or ()
                if (instance.get("attributes") or {}).get("id")
            }
        except FileNotFoundError:
            return frozenset()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UpstreamError(
                f"{path} cannot be read as {self.tool}'s state; nothing was changed",
                hint=f"Put {STATE_FILE}.backup in its place, or add --with api.",
            ) from error
        return frozenset({part for one in found for part in (one, *one.split(":"))})

    def _failed(self, what: str, said: str, outcome: str, hint: str) -> UpstreamError:
        told = said or "it said nothing"
        for secret in self._secrets:
            told = told.replace(secret, "****")
        return UpstreamError(f"{self.tool} {what} failed; {outcome}\n{told}", hint=hint)

    # -- the program -------------------------------------------------------------------------------------------

    def _run(
        self,
        arguments: Sequence[str],
        hear: Callable[[str], None],
        *,
        timeout_s: float,
        observe: Observer,
    ) -> int:
        """Its exit code. Raises UpstreamError when it cannot be started or takes too long; KeyboardInterrupt or
        SystemExit, after it came to an orderly end, when we were interrupted."""
        try:
            process = subprocess.Popen(
                [self._installed.path, *arguments],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )
        except OSError as error:
            raise UpstreamError(
                f"{self._installed.path} could not be started: {error.strerror or error}; nothing was changed",
                hint=f"Install {self.tool} again, or add --with api.",
            ) from error
        lines = _Lines(process)
        deadline = time.monotonic() + timeout_s
        stopping: BaseException | None = None
        late = False
        while True:
            try:
                for line in lines.until(deadline):
                    hear(line)
                if lines.ended:
                    break
                if late or stopping is not None:
                    _end(process)
                    break
                late = True
                process.send_signal(signal.SIGINT)
                deadline = time.monotonic() + STOP_TIMEOUT_S
            except (KeyboardInterrupt, SystemExit) as interrupt:
                if stopping is None:
                    stopping = interrupt
                    process.send_signal(signal.SIGINT)
                    deadline = time.monotonic() + STOP_TIMEOUT_S
                    observe(
                        Warned(
                            f"stopping: {self.tool} finishes the step it is in and writes its state"
                        )
                    )
                else:
                    observe(
                        Warned(
                            f"{self.tool} is still stopping; killing it would lose what it just made "
                            f"(its process is {process.pid})"
                        )
                    )
            except BaseException:
                _end(process)
                raise
        code = _code(process)
        if stopping is not None:
            raise stopping
        if late and code:
            raise UpstreamError(
                f"{self.tool} {arguments[0]} took longer than {timeout_s:,.0f} s and was stopped; what was made stays",
                hint="Run the same command again: it goes on from there. --timeout gives it longer.",
            )
        return code


def _nobody(event: Event) -> None:
    """Hears nothing."""


class _Lines:
    """The lines of a process, read by a thread, so that waiting for one ends in time."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._queue: queue.Queue[str | None] = queue.Queue()
        self.ended = False
        assert process.stdout is not None
        reader = threading.Thread(target=self._read, args=(process.stdout,), daemon=True)
        reader.start()

    def _read(self, stream: IO[bytes]) -> None:
        with contextlib.suppress(ValueError, OSError), stream:
            for line in stream:
                self._queue.put(line.decode("utf-8", "replace").rstrip("\r\n"))
        self._queue.put(None)

    def until(self, deadline: float) -> Iterator[str]:
        """Lines as they come, up to their end (then ``ended``) or to ``deadline``."""
        while not self.ended:
            try:
                line = self._queue.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return
            if line is None:
                self.ended = True
                return
            yield line


def _code(process: "subprocess.Popen[bytes]") -> int:
    try:
        return process.wait(KILL_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        _end(process)
        return process.wait(KILL_TIMEOUT_S)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End it and what it started (providers), whatever they are doing."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(KILL_TIMEOUT_S)


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Ours, without what would change terraform's commands and without other credentials than ``extra`` has."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not _DROPPED.fullmatch(name) and not (extra and _CREDENTIALS.fullmatch(name))
    }
    return {**kept, "TF_IN_AUTOMATION": "1", "TF_INPUT": "0", "CHECKPOINT_DISABLE": "1", **extra}
