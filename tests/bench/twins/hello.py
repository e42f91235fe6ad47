"""The twin of the sold-out answer: granian's hello world, one process.    python hello.py PORT"""

import sys
from typing import Any

import uvloop
from granian.constants import Interfaces
from granian.server.embed import Server


class Hello:
    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        protocol.response_str(200, [("content-type", "text/plain")], "Hello, world!")


async def main() -> None:
    server = Server(
        Hello(), port=int(sys.argv[1]), interface=Interfaces.RSGI, backlog=1024, log_enabled=False
    )
    await server.serve()


if __name__ == "__main__":
    uvloop.run(main())
