"""A worker whose services answer with what they got: the runtime and the gateway under test, nothing else.

Behaves as asked in the query (of a GET) or the header X-Ask: ``slow=SECONDS`` answers late, ``block=SECONDS`` stops
the event loop, ``die=1`` ends the process in the middle of the request, ``die=FILE`` does so unless FILE exists
(and makes it).
"""

import asyncio
import os
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import parse_qs

from saleops.config.settings import ServiceSettings
from saleops.errors import StoreUnavailable
from saleops.services.assembly import build
from saleops.services.web import Request, Response, Route, Service, encode
from saleops.services.worker import main

PATHS = ("/products", "/products/{sku}", "/orders", "/orders/{id}", "/cart")
DEEP_PATHS = ("/orders/{id}/payments", "/orders/{id}/parcels")


async def build_echo(name: str, settings: ServiceSettings, stack: AsyncExitStack) -> Service:
    if name == "gateway":
        return await build(name, settings, stack)
    if settings.sale == "unreachable":
        raise StoreUnavailable("redis://nowhere does not answer", hint="Start it.")

    async def echo(request: Request) -> Response:
        asked = request.query or request.headers.get("x-ask", "")
        query = {key: values[0] for key, values in parse_qs(asked).items()}
        mark = query.get("die")
        if mark and not Path(mark).exists():
            if mark != "1":
                Path(mark).touch()
            os._exit(1)
        if "block" in query:
            time.sleep(float(query["block"]))
        if "slow" in query:
            await asyncio.sleep(float(query["slow"]))
        seen = {
            "service": name,
            "pid": os.getpid(),
            "method": request.method,
            "path": request.path,
            "headers": dict(request.headers.items()),
            "body": request.body.decode(),
        }
        return Response(200, [("content-type", "application/json")], encode(seen))

    routes = [
        Route(method, path, echo, "", f"{method}{path}", name, {200: None})
        for path in PATHS + DEEP_PATHS
        for method in ("GET", "POST", "PUT")
    ]
    ready = (lambda: "not seeded") if settings.sale == "empty" else None
    return Service(name, routes, ready=ready)


if __name__ == "__main__":
    sys.exit(main(build=build_echo))
