"""``saleops serve cloud``: a local Alibaba Cloud in the foreground, until somebody stops it.

It hangs below ``serve``, which takes a service as its first word: ``WithCloud`` looks at that word before anything else does.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer
from typer.core import TyperCommand

from saleops import wiring
from saleops.cli.context import context_of
from saleops.cli.sheets import Sheet, as_rich
from saleops.config.local_cloud import (
    DEFAULT_CLOUD_PORT,
    DEFAULT_REGION,
    SPEED_MAX,
    CloudSettings,
)
from saleops.errors import ConfigError, UpstreamError
from saleops.events import Finished, Started, Warned

app = typer.Typer()

POLL_S = 0.5


class WithCloud(TyperCommand):
    """``serve`` as it was, and ``serve cloud`` below it."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        below = typer.main.get_command(app)
        below.name = "cloud"
        below.params = [
            one for one in below.params if one.name not in ("install_completion", "show_completion")
        ]
        self.commands = {"cloud": below}

    def make_context(
        self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any
    ) -> Any:
        if args[:1] == ["cloud"]:
            name = f"{info_name} cloud"
            return self.commands["cloud"].make_context(name, args[1:], parent=parent, **extra)
        return super().make_context(info_name, args, parent=parent, **extra)


@dataclass(frozen=True, slots=True)
class ServedCloud:
    """The local cloud that runs, and how to talk to it."""

    schema: ClassVar[str] = "saleops/serve-cloud/v1"

    url: str
    region: str
    clock: str
    speed: float
    pid: int
    state_dir: str
    access_key_id: str
    address_file: str
    faults: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict, repr=False)


@as_rich.register
def _(served: ServedCloud) -> Sheet:
    time = "virtual: it stands until a waiting command advances it"
    if served.clock == "real":
        time = "real" if served.speed == 1 else f"real, {served.speed:g} times faster"
    rows: list[tuple[str, object]] = [
        ("cloud", served.url),
        ("region", served.region),
        ("time", time),
        ("state", served.state_dir),
    ]
    rows += [(name, f"{value:g}") for name, value in served.faults.items()]
    return Sheet((), rows)


@app.command()
def cloud(
    ctx: typer.Context,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port on loopback; 0 takes a free one.")
    ] = DEFAULT_CLOUD_PORT,
    state_dir: Annotated[
        Path,
        typer.Option(
            metavar="DIR", envvar="SALEOPS_STATE_DIR", help="It keeps its state in DIR/cloud."
        ),
    ] = wiring.STATE_DIR,
    region: Annotated[str, typer.Option(help="The region it stands for.")] = DEFAULT_REGION,
    speed: Annotated[
        float | None,
        typer.Option(metavar="N", help="Real time, N times faster. Default: 1."),
    ] = None,
    virtual: Annotated[
        bool, typer.Option("--virtual", help="Time stands until a waiting command advances it.")
    ] = False,
    throttle: Annotated[
        float, typer.Option(metavar="SHARE", help="Share of calls that are throttled.")
    ] = 0.0,
    fail: Annotated[
        float,
        typer.Option(metavar="SHARE", help="Share of calls that fail, half of them after acting."),
    ] = 0.0,
    lose: Annotated[
        float, typer.Option(metavar="SHARE", help="Share of calls whose answer is lost.")
    ] = 0.0,
    latency: Annotated[
        float, typer.Option(metavar="MS", help="Mean milliseconds before an answer.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Where the chance of faults starts.")] = 1,
    list_lag: Annotated[
        float, typer.Option(metavar="SECONDS", help="How long lists do not show what is new.")
    ] = 3.0,
    reset: Annotated[bool, typer.Option("--reset", help="Start with an empty cloud.")] = False,
) -> None:
    """Run a local Alibaba Cloud: the APIs that saleops calls, on loopback, for SDKs and the aliyun CLI too.

    It verifies signatures, checks every parameter, takes as long as the cloud takes, and
    goes wrong as you ask. Other commands use it with --endpoint-cloud local and the same
    --state-dir. What is made in it stays there until --reset.

    Examples:
      saleops serve cloud --speed 60
      saleops serve cloud --virtual --throttle 0.3 --fail 0.1 --seed 7
    """
    screen = context_of(ctx).screen
    settings = _settings(
        state_dir=state_dir,
        port=port,
        region=region,
        speed=speed,
        virtual=virtual,
        list_lag=list_lag,
        reset=reset,
        faults={
            "throttle": throttle,
            "fail": fail,
            "lose": lose,
            "latency_ms": latency,
            "seed": seed,
        },
    )
    with _stopped_by_signals() as stopped, wiring.serve_local_cloud(settings) as running:
        address = running.address
        screen.show(
            ServedCloud(
                url=address.url,
                region=address.region,
                clock=address.clock,
                speed=address.speed,
                pid=address.pid,
                state_dir=settings.folder,
                access_key_id=address.access_key_id,
                address_file=running.file,
                faults={
                    name: share
                    for name, share in settings.faults.items()
                    if share and name != "seed"
                },
                environment=_environment(address),
            )
        )
        if screen.output == "table" and screen.out is None:
            # As they are, never wrapped: these lines are for the clipboard.
            lines = [f"export {name}={value}" for name, value in _environment(address).items()]
            screen.write(
                "\n"
                + "\n".join(lines)
                + "\n\n# saleops itself, with the same --state-dir: --endpoint-cloud local, or"
                + "\nexport SALEOPS_ENDPOINT_CLOUD=local"
                + "\n\n# the aliyun CLI, and what was called\n"
                + f"aliyun --endpoint {address.host} --insecure sts GetCallerIdentity"
                + f"\ncurl -s {address.url}/_local/calls \\"
                + '\n  -H "Authorization: Bearer $ALIBABA_CLOUD_ACCESS_KEY_SECRET"\n\n'
            )
        screen.note("Ctrl-C stops it.")
        if reset:
            screen.observe(
                Warned("the cloud is empty; what was there is in world.json.before-reset")
            )
        while not stopped.wait(POLL_S):
            if (code := running.ended()) is not None:
                raise UpstreamError(
                    f"the local cloud ended by itself with exit code {code}; its state is kept",
                    hint=f"See {settings.folder}/cloud.log.",
                )
        screen.observe(Started("stopping"))
    screen.observe(Finished("stopping", note="stopped; the state is kept"))


def _environment(address: Any) -> dict[str, str]:
    return {
        "ALIBABA_CLOUD_ACCESS_KEY_ID": address.access_key_id,
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET": address.access_key_secret,
        "ALIBABA_CLOUD_REGION_ID": address.region,
        "ALIBABA_CLOUD_ENDPOINT": address.host,
        "ALIBABA_CLOUD_ECS_METADATA_DISABLED": "true",
    }


def _settings(
    *,
    state_dir: Path,
    port: int,
    region: str,
    speed: float | None,
    virtual: bool,
    list_lag: float,
    reset: bool,
    faults: dict[str, Any],
) -> CloudSettings:
    """Raises ConfigError that names every wrong option."""
    wrong: list[str] = []
    if speed is not None and virtual:
        wrong.append("--virtual time has no --speed")
    if speed is not None and not 0 < speed <= SPEED_MAX:
        wrong.append(f"--speed {speed:g}: use a number above 0, up to {SPEED_MAX:g}")
    shares = {name: faults[name] for name in ("throttle", "fail", "lose")}
    wrong += [
        f"--{name} {share:g}: use a share from 0 to 1"
        for name, share in shares.items()
        if not 0 <= share <= 1
    ]
    if all(0 <= share <= 1 for share in shares.values()) and sum(shares.values()) > 1:
        wrong.append("--throttle, --fail and --lose add up to more than 1")
    if not 0 <= faults["latency_ms"] <= 60_000:
        wrong.append(f"--latency {faults['latency_ms']:g}: use 0 to 60000 milliseconds")
    if not 0 <= list_lag <= 3600:
        wrong.append(f"--list-lag {list_lag:g}: use 0 to 3600 seconds")
    if not (region.isascii() and region.replace("-", "").isalnum() and len(region) <= 40):
        wrong.append(f"--region {region[:60]!r} is no region's name")
    if wrong:
        raise ConfigError(
            "; ".join(wrong) + "; nothing was started", hint="See `saleops serve cloud -h`."
        )
    return CloudSettings(
        folder=str(wiring.make_state_dir(state_dir) / "cloud"),
        port=port,
        region=region,
        clock="virtual" if virtual else "real",
        speed=speed or 1.0,
        list_lag_ms=round(list_lag * 1000),
        faults=faults,
        reset=reset,
        kept=True,
    )


@contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """Set by the first Ctrl-C or SIGTERM; before it is asked for, they end the start as they do everywhere."""
    stopped = threading.Event()
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {one: signal.getsignal(one) for one in signals}

    def stop(signum: int, frame: object) -> None:
        if stopped.is_set() and callable(handler := before[signal.Signals(signum)]):
            handler(signum, None)
        stopped.set()

    for one in signals:
        signal.signal(one, stop)
    try:
        yield stopped
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
