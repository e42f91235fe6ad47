"""Half messages that wait for their end, read from RocketMQ's own two logs.

A half message goes to ``RMQ_SYS_TRANS_HALF_TOPIC`` with its topic in a property. Its commit or rollback does not touch it: a
record in ``RMQ_SYS_TRANS_OP_HALF_TOPIC`` names its offset there, several to a record ("12,13,"). The broker's check goes
through both from where it stopped and appends what is unresolved anew, so that the place it came to parts the settled from
the rest. So: unresolved is what lies behind that place, in either of its copies named by no record.

A copy that was appended by a check has another offset than the one its sender knows; sender's copies and check's copies
have the message id in common, and one settled copy settles all.
"""

from saleops.adapters.rocketmq_frames import StoredMessage
from saleops.adapters.rocketmq_queues import Queue, Queues

DISCARDED_TOPIC = "TRANS_CHECK_MAX_TIME_TOPIC"
_HALF_TOPIC = "RMQ_SYS_TRANS_HALF_TOPIC"
_ENDED_TOPIC = "RMQ_SYS_TRANS_OP_HALF_TOPIC"
_CHECK_GROUP = "CID_RMQ_SYS_TRANS"


async def unresolved_halves(queues: Queues) -> list[StoredMessage]:
    """One copy, the youngest, of each half that was neither committed nor rolled back, in no special order."""
    ended_queues = {(q.broker, q.number): q for q in await queues.of(_ENDED_TOPIC)}
    unresolved: list[StoredMessage] = []
    for queue in await queues.of(_HALF_TOPIC):
        # The places first: a check that runs meanwhile moves them ahead and appends copies, which we then read too.
        start = await _place(queues, queue)
        ended_queue = ended_queues.get((queue.broker, queue.number))
        ended_start = 0 if ended_queue is None else await _place(queues, ended_queue)
        copies: dict[str, list[StoredMessage]] = {}
        async for half in queues.read(queue, start, await queues.end(queue)):
            copies.setdefault(half.message_id or str(half.offset), []).append(half)
        if not copies:
            continue
        ended = set[int]()
        if ended_queue is not None:
            ended = await _ended(queues, ended_queue, ended_start)
        unresolved += [
            halves[-1] for halves in copies.values() if not any(_settled(h, ended) for h in halves)
        ]
    return unresolved


def _settled(half: StoredMessage, ended: set[int]) -> bool:
    first = half.properties.get("TRAN_PREPARED_QUEUE_OFFSET", "")
    return half.offset in ended or (first.isdecimal() and int(first) in ended)


async def _place(queues: Queues, queue: Queue) -> int:
    return max(await queues.first(queue), await queues.position(queue, _CHECK_GROUP) or 0)


async def _ended(queues: Queues, queue: Queue, start: int) -> set[int]:
    offsets = set[int]()
    async for record in queues.read(queue, start, await queues.end(queue)):
        offsets.update(
            int(part)
            for part in record.body.decode(errors="replace").split(",")
            if part.isdecimal()
        )
    return offsets
