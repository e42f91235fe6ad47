"""What is sent again, how often and after which wait, on a clock that nobody waits for."""

from dataclasses import dataclass, field
from random import Random

import pytest

from saleops.domain.cloud.calls import Answer, Call
from saleops.domain.cloud.paging import every_page
from saleops.errors import CloudError, CloudErrorKind
from saleops.operations.provision.sending import (
    RETRIES,
    Retries,
    Sender,
    drive,
    send,
    takes_token,
)
from saleops.ports.cloud import CloudClock

READ = Call("vpc", "DescribeVpcs", {"RegionId": "ap-southeast-1"})
TOKENED = Call("vpc", "CreateVpc", {"RegionId": "ap-southeast-1"})
BARE = Call("cs", "CreateClusterNodePool", path={"ClusterId": "c1"}, body={})


@dataclass
class HandClock:
    slept: list[float] = field(default_factory=list)

    def now_ms(self) -> int:
        return round(sum(self.slept) * 1000)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@dataclass
class ScriptedCloud:
    """Fails as told, then answers."""

    script: list[CloudError | Answer]
    hand: HandClock = field(default_factory=HandClock)
    sent: list[tuple[Call, str]] = field(default_factory=list)
    region: str = "ap-southeast-1"
    name: str = "a script"

    @property
    def clock(self) -> CloudClock:
        return self.hand

    def send(self, call: Call, *, token: str = "") -> Answer:
        self.sent.append((call, token))
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(step, CloudError):
            raise step
        return step


def error(kind: CloudErrorKind, wait_s: float | None = None) -> CloudError:
    return CloudError("no", kind=kind, code=f"Code.{kind}", request_id="r", retry_after_s=wait_s)


@pytest.mark.parametrize("kind", ["throttled", "busy"])
@pytest.mark.parametrize("call", [READ, TOKENED, BARE], ids=str)
def test_what_was_not_carried_out_is_sent_again_whatever_it_is(
    call: Call, kind: CloudErrorKind
) -> None:
    cloud = ScriptedCloud([error(kind), error(kind), {"RequestId": "done"}])

    sent = send(cloud, call, token="t", random=Random(1))

    assert (sent.request_id, sent.retries_count) == ("done", 2)
    assert [(one.kind, one.code, one.request_id) for one in sent.attempts] == [
        (kind, f"Code.{kind}", "r")
    ] * 2
    assert [one.waited_s for one in sent.attempts] == cloud.hand.slept
    assert {token for _, token in cloud.sent} == {"t"}, "the same token every time"


@pytest.mark.parametrize(("call", "token"), [(READ, ""), (TOKENED, "t")], ids=["read", "token"])
def test_an_unknown_outcome_is_repeated_where_a_repeat_is_harmless(call: Call, token: str) -> None:
    cloud = ScriptedCloud([error("unknown"), {}])

    assert send(cloud, call, token=token, random=Random(1)).retries_count == 1


@pytest.mark.parametrize(("call", "token"), [(BARE, "t"), (TOKENED, "")], ids=["api", "call"])
def test_a_write_of_unknown_outcome_without_token_is_never_repeated(call: Call, token: str) -> None:
    cloud = ScriptedCloud([error("unknown"), {}])

    with pytest.raises(CloudError):
        send(cloud, call, token=token, random=Random(1))

    assert len(cloud.sent) == 1


@pytest.mark.parametrize("kind", ["missing", "exists", "denied", "quota", "invalid", "failed"])
def test_an_answer_is_an_answer(kind: CloudErrorKind) -> None:
    cloud = ScriptedCloud([error(kind), {}])

    with pytest.raises(CloudError, match=r"no$"):
        send(cloud, READ, random=Random(1))

    assert len(cloud.sent) == 1


def test_attempts_are_bounded_and_counted_in_the_message() -> None:
    cloud = ScriptedCloud([error("throttled")])
    heard: list[float] = []

    with pytest.raises(CloudError, match="tried 8 times") as caught:
        send(cloud, READ, random=Random(1), retried=lambda one, wait_s: heard.append(wait_s))

    assert len(cloud.sent) == RETRIES.attempts_max == 8
    assert heard == cloud.hand.slept
    assert caught.value.kind == "throttled"


def test_the_waits_of_a_call_are_bounded_in_sum() -> None:
    cloud = ScriptedCloud([error("busy", 40.0)])

    with pytest.raises(CloudError, match="tried 3 times"):
        send(cloud, READ, random=Random(1))

    assert sum(cloud.hand.slept) <= RETRIES.waits_max_s


@pytest.mark.parametrize("seed", range(20))
def test_waits_jitter_within_their_bounds_and_grow(seed: int) -> None:
    cloud = ScriptedCloud([error("busy")])
    bounds = Retries(attempts_max=12, waits_max_s=1_000)

    with pytest.raises(CloudError):
        send(cloud, READ, random=Random(seed), retries=bounds)

    last = bounds.first_s
    for wait_s in cloud.hand.slept:
        assert bounds.first_s <= wait_s <= min(bounds.wait_max_s, last * 3)
        last = wait_s


def test_the_clouds_own_wait_is_honoured() -> None:
    cloud = ScriptedCloud([error("throttled", 30.0), {}])

    send(cloud, READ, random=Random(1))

    assert 30.0 <= cloud.hand.slept[0] <= 30.0 + RETRIES.first_s


def test_a_look_hears_of_its_failed_call_and_goes_on() -> None:
    def look() -> object:
        with pytest.raises(CloudError, match="no"):
            yield READ
        return (yield TOKENED)["found"]

    cloud = ScriptedCloud([error("missing"), error("throttled"), {"found": 7}])

    assert drive(cloud, look(), random=Random(1)) == 7  # type: ignore[arg-type]


def test_a_list_is_driven_to_its_end() -> None:
    pages: list[CloudError | Answer] = [
        {"Vpcs": {"Vpc": [{"n": number} for number in range(50)]}},
        error("throttled"),
        {"Vpcs": {"Vpc": [{"n": 50}]}},
    ]
    cloud = ScriptedCloud(pages)

    found = drive(cloud, every_page(READ, "Vpcs.Vpc"), random=Random(1))

    assert found == [{"n": number} for number in range(51)]
    assert [call.params["PageNumber"] for call, _ in cloud.sent] == [1, 2, 2]


def test_a_sender_has_the_engines_shape() -> None:
    cloud = ScriptedCloud([error("busy"), {"ok": 1}])
    heard: list[str] = []

    answer = Sender(Random(1))(cloud, TOKENED, token="t", retried=lambda e, s: heard.append(e.code))

    assert (answer, heard) == ({"ok": 1}, ["Code.busy"])
    assert (takes_token(TOKENED), takes_token(BARE)) == (True, False)
