"""Limits at the door: exactly the rate gets in, memory is bounded, nobody is punished for others."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saleops.config.settings import Admission
from saleops.services.limits import Door, RateLimiter, client_address
from saleops.services.web import Refusal, Request


@dataclass
class HandClock:
    now_s: float = 5000.0

    def __call__(self) -> float:
        return self.now_s


def from_address(forwarded: str | None) -> Request:
    headers = {} if forwarded is None else {"x-forwarded-for": forwarded}
    return Request("GET", "/products/a", "", headers, b"")


def test_a_burst_gets_in_then_the_rate_and_the_wait_is_told() -> None:
    clock = HandClock()
    limiter = RateLimiter(2.0, 3, monotonic_s=clock)

    assert [limiter.wait_s("ann") for _ in range(5)] == [0, 0, 0, 0.5, 0.5]
    clock.now_s += 0.5
    assert [limiter.wait_s("ann") for _ in range(2)] == [0, 0.5]
    clock.now_s += 1000
    assert [limiter.wait_s("ann") for _ in range(4)] == [0, 0, 0, 0.5]


def test_buyers_do_not_share_a_bucket() -> None:
    limiter = RateLimiter(1.0, 1, monotonic_s=HandClock())
    assert limiter.wait_s("ann") == 0
    assert limiter.wait_s("bob") == 0
    assert limiter.wait_s("ann") > 0


@given(
    rate=st.integers(1, 50),
    burst=st.integers(1, 20),
    gaps_ms=st.lists(st.integers(0, 400), max_size=200),
)
def test_never_more_than_burst_plus_rate_times_time_and_never_less_than_asked_for(
    rate: int, burst: int, gaps_ms: list[int]
) -> None:
    clock = HandClock(0.0)
    limiter = RateLimiter(float(rate), burst, monotonic_s=clock)
    let_in, tokens = 0, float(burst)
    for gap_ms in gaps_ms:
        clock.now_s += gap_ms / 1000
        tokens = min(float(burst), tokens + gap_ms / 1000 * rate)
        if abs(tokens - round(tokens)) < 1e-6:  # on the edge floats may round either way
            tokens = float(round(tokens))
            if tokens == 0:
                continue
        admitted = limiter.wait_s("ann") == 0
        if tokens > 1 + 1e-6:
            assert admitted
        if tokens < 1 - 1e-6:
            assert not admitted
        tokens -= admitted
        let_in += admitted
    assert let_in <= burst + rate * clock.now_s + 1e-6


def test_memory_shrinks_when_buyers_are_gone_and_never_passes_its_bound() -> None:
    clock = HandClock()
    limiter = RateLimiter(1.0, 5, monotonic_s=clock, max_keys=100)
    for n in range(1000):
        limiter.wait_s(f"buyer-{n}")
        assert len(limiter) <= 100
    clock.now_s += 10
    for _ in range(100):
        limiter.wait_s("ann")
        clock.now_s += 1
    assert len(limiter) == 1


def test_the_busiest_are_not_the_ones_forgotten() -> None:
    limiter = RateLimiter(1.0, 1, monotonic_s=HandClock(), max_keys=10)
    limiter.wait_s("bot")
    for n in range(100):
        assert limiter.wait_s("bot") > 0
        limiter.wait_s(f"buyer-{n}")


@pytest.mark.parametrize(("rate", "burst", "keys"), [(0, 1, 1), (1, 0, 1), (1, 1, 0), (-1, 1, 1)])
def test_a_bucket_that_could_let_nobody_in_is_a_callers_mistake(
    rate: float, burst: int, keys: int
) -> None:
    with pytest.raises(ValueError, match="no bucket"):
        RateLimiter(rate, burst, max_keys=keys)


def test_the_door_answers_429_with_retry_after() -> None:
    door = Door(Admission(per_buyer_rps=0.1, per_ip_rps=0), monotonic_s=HandClock())
    door.admit_buyer("ann")
    with pytest.raises(Refusal) as caught:
        door.admit_buyer("ann")
    assert caught.value.response.status == 429
    assert ("retry-after", "10") in caught.value.response.headers


def test_zero_means_no_limit() -> None:
    door = Door(Admission(per_buyer_rps=0, per_ip_rps=0), monotonic_s=HandClock())
    for _ in range(1000):
        door.admit_buyer("ann")
        door.admit_address(from_address("203.0.113.7"))


def test_addresses_are_limited_by_what_the_gateway_saw_not_by_what_the_client_says() -> None:
    door = Door(Admission(per_ip_rps=1), monotonic_s=HandClock())
    door.admit_address(from_address("10.0.0.1, 203.0.113.7"))
    with pytest.raises(Refusal):
        door.admit_address(from_address("10.0.0.2, 203.0.113.7"))
    for _ in range(3):
        door.admit_address(from_address(None))  # nobody in front of us: nothing to go by


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [(None, ""), ("", ""), ("203.0.113.7", "203.0.113.7"), ("a, b ,2001:db8::1 ", "2001:db8::1")],
)
def test_the_address_is_the_last_hop(forwarded: str | None, address: str) -> None:
    assert client_address(from_address(forwarded)) == address
