"""Messages put into RocketMQ over the remoting protocol, so that tests of the operator's side need no producer."""

import time
import uuid
import zlib

from saleops.adapters.rocketmq_remoting import Remoting

_SEND_MESSAGE, _END_TRANSACTION = 10, 37
_COMPRESSED_ZLIB, _PREPARED = 0x301, 0x4
COMMIT, ROLLBACK = 8, 12


class Sender:
    def __init__(self, remoting: Remoting, broker: str) -> None:
        self._remoting = remoting
        self._broker = broker

    async def send(
        self, topic: str, body: bytes, *, queue: int = 0, compress: bool = False, **more: str
    ) -> dict[str, str]:
        """Store one message; returns the broker's answer (msgId, queueOffset)."""
        properties = {"UNIQ_KEY": uuid.uuid4().hex.upper(), **more}
        system = _PREPARED if "TRAN_MSG" in more else 0
        if compress:
            body, system = zlib.compress(body), system | _COMPRESSED_ZLIB
        reply = await self._remoting.call(
            self._broker,
            _SEND_MESSAGE,
            {
                "producerGroup": "tests",
                "topic": topic,
                "defaultTopic": "TBW102",
                "defaultTopicQueueNums": 4,
                "queueId": queue,
                "sysFlag": system,
                "bornTimestamp": int(time.time() * 1000),
                "flag": 0,
                "properties": "".join(f"{k}\x01{v}\x02" for k, v in properties.items()),
                "reconsumeTimes": 0,
                "unitMode": False,
                "batch": False,
            },
            body,
            what=f"sending to {topic}",
        )
        return {**reply.fields, "properties": properties["UNIQ_KEY"]}

    async def send_half(self, topic: str, body: bytes, **more: str) -> dict[str, str]:
        return await self.send(topic, body, TRAN_MSG="true", PGROUP="tests", **more)

    async def end(self, half: dict[str, str], how: int) -> None:
        """Commit or roll back what ``send_half`` returned."""
        await self._remoting.call(
            self._broker,
            _END_TRANSACTION,
            {
                "producerGroup": "tests",
                "tranStateTableOffset": half["queueOffset"],
                "commitLogOffset": int(half["msgId"][-16:], 16),
                "commitOrRollback": how,
                "fromTransactionCheck": False,
                "msgId": half["properties"],
                "transactionId": half.get("transactionId"),
            },
            what="ending a transaction",
        )
