"""What every ``saleops provision`` command opens: the sale, its profile, the cloud, the journal, the blueprint."""

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from saleops.cli.person import whoami
from saleops.cli.telling_cloud import TellingCloud
from saleops.domain.cloud.masking import HIDDEN
from saleops.errors import ConfigError, SaleopsError
from saleops.events import Warned

if TYPE_CHECKING:
    from saleops.cli.context import Context
    from saleops.config.profile import Profile
    from saleops.config.sale import Sale
    from saleops.operations.provision.blueprint import Blueprint
    from saleops.operations.provision.courier import Courier
    from saleops.ports.cloud import Cloud

PROFILE = "profile.yaml"
LOCAL = "local"
_COMMAND = re.compile(r"`saleops provision ([a-z]+) SALE((?: [^`]+)?)`")

ProfileFile = Annotated[
    Path | None,
    typer.Option(
        "--profile",
        metavar="FILE",
        help=f"What to build; else {PROFILE} beside the sale file, else defaults.",
        show_default=False,
    ),
]
EndpointCloud = Annotated[
    str | None,
    typer.Option(
        "--endpoint-cloud",
        metavar="local|URL",
        envvar="SALEOPS_ENDPOINT_CLOUD",
        show_envvar=False,
        help="A cloud on this machine instead of Alibaba's: local starts one where none runs.",
        show_default=False,
    ),
]
Region = Annotated[
    str | None,
    typer.Option("--region", metavar="ID", help="Instead of the sale's.", show_default=False),
]
CloudStateDir = Annotated[
    Path,
    typer.Option(
        "--state-dir",
        metavar="DIR",
        envvar="SALEOPS_STATE_DIR",
        help="Where journals, passwords and the local cloud are kept.",
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        min=1,
        max=86_400,
        metavar="SECONDS",
        help="How long to wait for each resource, instead of its own.",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class CloudFlags:
    """Where a command works."""

    profile: Path | None
    endpoint: str | None
    region: str | None
    state_dir: Path

    @property
    def practice(self) -> bool:
        """Whether this cloud costs nothing: one on this machine."""
        if self.endpoint is None:
            return False
        host = urlsplit(self.endpoint if "://" in self.endpoint else f"//{self.endpoint}").hostname
        return self.endpoint == LOCAL or host in ("127.0.0.1", "localhost", "::1")

    def __post_init__(self) -> None:
        if self.endpoint is not None and self.endpoint.strip().lower() == LOCAL:
            object.__setattr__(self, "endpoint", LOCAL)

    def again(self, command: str, sale_file: Path, typed: Sequence[str] = ()) -> str:
        """The command line that does ``command`` in the same place, ready to be pasted; ``typed`` are its other words."""
        parts = ["saleops", "provision", command, str(sale_file), *typed]
        for flag, value in (
            ("--profile", self.profile),
            ("--endpoint-cloud", self.endpoint),
            ("--region", self.region),
        ):
            if value is not None:
                parts += [flag, str(value)]
        if self.state_dir != Path(".saleops"):
            parts += ["--state-dir", str(self.state_dir)]
        return shlex.join(parts)

    def filled(self, advice: str, sale_file: Path) -> str:
        """``advice`` with the commands that it names for SALE made those of this sale in this place."""

        def here(found: re.Match[str]) -> str:
            return f"`{self.again(found[1], sale_file, found[2].split())}`"

        return _COMMAND.sub(here, advice)


@dataclass(frozen=True)
class Session:
    """Everything open. ``journal_file`` is empty where nothing is written."""

    sale: "Sale"
    profile: "Profile"
    blueprint: "Blueprint"
    cloud: "Cloud"
    courier: "Courier"
    journal_file: Path


def files_of(sale_file: Path, flags: CloudFlags) -> tuple["Sale", "Profile"]:
    """The sale and its profile. Raises ConfigError."""
    from saleops.config.profile import default_profile, load_profile
    from saleops.config.sale import load_sale
    from saleops.wiring import check_region

    if flags.region is not None:
        check_region(flags.region)
    sale = load_sale(sale_file)
    beside = sale_file.parent / PROFILE
    if flags.profile is not None:
        profile = load_profile(flags.profile)
    else:
        profile = load_profile(beside) if beside.exists() else default_profile()
    if flags.region is not None and flags.region != (profile.region or sale.region):
        zones = tuple(zone for zone in profile.zones if zone.startswith(flags.region))
        profile = profile.model_copy(update={"region": flags.region, "zones": zones})
    return sale, profile


def journal_file_of(sale: "Sale", profile: "Profile", flags: CloudFlags) -> Path:
    """Where the journal of ``sale`` in the cloud of ``flags`` is."""
    from saleops.operations.provision.blueprint import region_of
    from saleops.wiring import cloud_journal_path

    place = flags.endpoint or region_of(sale, profile)
    return cloud_journal_path(flags.state_dir, sale.name, place)


@contextmanager
def cloud_session(
    context: "Context", sale_file: Path, flags: CloudFlags, *, command: str, writes: bool
) -> Iterator[Session]:
    """Open all of it. With ``writes`` the journal is ours alone; without, it is read, and nothing is written anywhere.

    Raises ConfigError, Refused where another run writes the journal, CloudError where the cloud cannot be opened.
    """
    from random import SystemRandom

    from saleops import wiring
    from saleops.operations.provision.blueprint import blueprint, region_of
    from saleops.operations.provision.courier import Courier

    sale, profile = files_of(sale_file, flags)
    path = journal_file_of(sale, profile, flags)
    with ExitStack() as stack:
        if writes:
            wiring.make_state_dir(flags.state_dir)
            journal = stack.enter_context(wiring.open_cloud_journal(path, mended=_tell(context)))
        else:
            journal = wiring.recall_cloud_journal(path)
        passwords = wiring.sale_passwords(path, may_make=writes, stand_in=HIDDEN)

        def database_password() -> str:
            return os.environ.get("SALEOPS_DATABASE_PASSWORD") or passwords("database")

        node_password = os.environ.get("SALEOPS_NODE_PASSWORD") or ""
        if not node_password and not profile.cluster.key_pair:
            node_password = passwords("nodes")
        plan = blueprint(sale, profile, password=database_password, node_password=node_password)
        opened = wiring.open_cloud(
            region=flags.region,
            file_region=region_of(sale, profile),
            endpoint=flags.endpoint,
            state_dir=flags.state_dir,
        )
        cloud = stack.enter_context(opened)
        if cloud.region != plan.region:
            raise ConfigError(
                f"the sale is for {plan.region} and the cloud is {cloud.region}; nothing was changed",
                hint="Give --region.",
            )
        context.screen.note(f"{cloud.name}, region {cloud.region}")
        for note in plan.notes:
            context.screen.detail(note)
        journal.begin(command=f"provision {command}", who=whoami(), cloud=cloud.name)
        courier = Courier(TellingCloud(cloud, context.screen), journal, random=SystemRandom())
        try:
            yield Session(sale, profile, plan, cloud, courier, path)
        except SaleopsError as error:
            error.hint = error.hint and flags.filled(error.hint, sale_file)
            raise


def _tell(context: "Context"):  # type: ignore[no-untyped-def]
    def tell(text: str) -> None:
        context.screen.observe(Warned(text))

    return tell
