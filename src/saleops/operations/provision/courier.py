"""Sends calls and keeps the journal: a write is in it before it leaves, and what became of it right after.

Repeating what a cloud did not carry out is the sender's part (sending.py); this is where it becomes safe to be killed: a
write whose outcome is not known is repeated with the token it had, as long as it is still the same call.
"""

import json
import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from saleops.cloudapi import api_of
from saleops.domain.cloud.calls import Answer, Call
from saleops.domain.cloud.journal import Action, Outcome
from saleops.domain.cloud.masking import document_of
from saleops.errors import CloudError
from saleops.operations.provision.sending import RETRIES, Retries, request_id_of, send
from saleops.ports.cloud import Cloud
from saleops.ports.cloud_journal import CloudJournal

LIST_LAG_S = 10.0
"""Lists show a write after 1 to 10 s."""


WRITE_RETRIES = Retries(attempts_max=4, wait_max_s=10.0, waits_max_s=20.0)
"""A write is given back soon: while it is repeated here nothing else moves, and whoever sent it can come back to it."""


@dataclass(slots=True)
class Totals:
    """What a run has sent so far."""

    reads: int = 0
    writes: int = 0
    retries: int = 0
    throttled: int = 0


class Courier:
    """``random`` spreads repeats in time; ``new_token`` makes idempotency tokens."""

    def __init__(
        self,
        cloud: Cloud,
        journal: CloudJournal,
        *,
        random: Random,
        new_token: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        self.cloud = cloud
        self.journal = journal
        self.totals = Totals()
        self._refused: set[str] = set()
        self._random = random
        self._new_token = new_token

    def settle(self) -> None:
        """Wait until lists show what was last written here: a look right after a crash must not miss it."""
        clock = self.cloud.clock
        since_s = (clock.now_ms() - self.journal.history.last_write_ms) / 1000
        if self.journal.history.last_write_ms and since_s < LIST_LAG_S:
            clock.sleep(min(LIST_LAG_S, LIST_LAG_S - since_s))

    def read(self, call: Call) -> Answer:
        """Send a reading call. Raises CloudError."""
        sent = self._send(call, "", RETRIES)
        self.totals.reads += 1
        brief = {"product": call.product, "api": call.api}
        self.journal.note_read(brief, sent.outcome, at_ms=self.cloud.clock.now_ms())
        return sent.given()

    def write(self, key: str, action: Action, call: Call) -> Answer:
        """Send a writing call for the resource ``key``. Raises CloudError; of kind "unknown" it stays unresolved."""
        document = document_of(call)
        token = ""
        if api_of(call.product, call.api).token:
            before = self.journal.history.unresolved(key, action)
            same = before is not None and before.call == document
            token = before.token if before is not None and same else ""
            token = token or self._new_token()
        number = self.journal.intend(
            key, action, document, token=token, at_ms=self.cloud.clock.now_ms()
        )
        sent = self._send(call, token, WRITE_RETRIES)
        # What comes back to a call that was refused repeats it: a plan counts calls, not attempts.
        same_call = json.dumps([key, action, document], sort_keys=True, default=str)
        if same_call in self._refused:
            self.totals.retries += 1
        else:
            self.totals.writes += 1
        if sent.error is None:
            self._refused.discard(same_call)
        else:
            self._refused.add(same_call)
        self.journal.conclude(number, sent.outcome, at_ms=self.cloud.clock.now_ms())
        if sent.error is None:
            self.resolve(key, action)
        return sent.given()

    def resolve(self, key: str, action: Action) -> None:
        """The cloud has shown what became of the writes for ``key`` whose outcome was not known."""
        history = self.journal.history
        for intent in [*history.open_intents.values()]:
            if (intent.key, intent.action) == (key, action):
                seen = Outcome(True, message="settled by what was seen in the cloud", attempts=0)
                self.journal.conclude(intent.number, seen, at_ms=intent.at_ms)

    def _send(self, call: Call, token: str, retries: Retries) -> "_Sent":
        repeats: Counter[str] = Counter()
        throttled = 0

        def retried(error: CloudError, wait_s: float) -> None:
            nonlocal throttled
            repeats[error.code or error.kind] += 1
            throttled += error.kind == "throttled"

        began_ms = self.cloud.clock.now_ms()
        sent = _Sent()
        try:
            sent.answer = send(
                self.cloud,
                call,
                token=token,
                random=self._random,
                retries=retries,
                retried=retried,
            ).answer
        except CloudError as error:
            sent.error = error
            throttled += error.kind == "throttled"
        self.totals.retries += repeats.total()
        self.totals.throttled += throttled
        sent.outcome = Outcome(
            ok=sent.error is None,
            attempts=1 + repeats.total(),
            retries=dict(repeats),
            throttled=throttled,
            took_ms=max(0, self.cloud.clock.now_ms() - began_ms),
            request_id=sent.error.request_id if sent.error else request_id_of(sent.answer),
            code=(sent.error.code or sent.error.kind) if sent.error else "",
            kind=sent.error.kind if sent.error else "",
            message=sent.error.message if sent.error else "",
            ids={} if sent.error else ids_of(sent.answer),
        )
        return sent


@dataclass(slots=True)
class _Sent:
    answer: Answer = field(default_factory=dict)
    error: CloudError | None = None
    outcome: Outcome = field(default_factory=lambda: Outcome(ok=False))

    def given(self) -> Answer:
        if self.error is not None:
            raise self.error
        return self.answer


def ids_of(answer: Answer) -> dict[str, str]:
    """The ids that ``answer`` gives, without its request id; RocketMQ gives a bare one as ``data``."""
    ids: dict[str, str] = {}
    for name, value in answer.items():
        if not isinstance(value, str) or name.lower().replace("_", "") == "requestid":
            continue
        if name.lower().endswith("id") or name == "data":
            ids[name] = value
    return ids
