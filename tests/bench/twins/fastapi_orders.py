"""The twin of the order service: what a competent team writes first.

FastAPI on uvicorn, redis-py, SQLAlchemy; one request is one script call, one transaction with fsync, one message. The same
JWT check, the same reservation rule (a Lua script, so it is as correct as ours), the same tables and guard.

    uvicorn fastapi_orders:app     (settings from TWIN_REDIS, TWIN_DATABASE, TWIN_SECRET)
"""

import json
import os
import time
import uuid

import jwt
import redis
from fastapi import FastAPI, Header, HTTPException
from pydantic import BaseModel
from sqlalchemy import create_engine, text

REDIS = redis.Redis.from_url(os.environ["TWIN_REDIS"])
ENGINE = create_engine(os.environ["TWIN_DATABASE"], pool_size=20, max_overflow=20)
SECRET = os.environ["TWIN_SECRET"]
RESERVE = REDIS.register_script(
    """
    if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 1 then return 2 end
    local left = tonumber(redis.call('GET', KEYS[1]))
    if not left or left < tonumber(ARGV[2]) then return 0 end
    redis.call('DECRBY', KEYS[1], ARGV[2])
    redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
    return 1
    """
)
app = FastAPI()


class OrderRequest(BaseModel):
    sku: str
    units: int = 1
    payment_token: str = ""


@app.post("/orders", status_code=201)
def place(
    wish: OrderRequest, authorization: str = Header(), idempotency_key: str = Header()
) -> dict[str, object]:
    try:
        claims = jwt.decode(authorization[7:], SECRET, algorithms=["HS256"], audience="saleops")
    except jwt.PyJWTError:
        raise HTTPException(401) from None
    key = f"{claims['sub']}:{idempotency_key}"
    keys = [f"twin:{wish.sku}:units", f"twin:{wish.sku}:held"]
    if RESERVE(keys=keys, args=[key, wish.units]) == 0:
        raise HTTPException(409)
    order_id, now_ms = uuid.uuid4().hex, int(time.time() * 1000)
    with ENGINE.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO twin_orders (order_id, buyer, sku, units, created_ms, idempotency_key)"
                " VALUES (:i, :b, :s, :u, :c, :k)"
            ),
            {
                "i": order_id,
                "b": claims["sub"],
                "s": wish.sku,
                "u": wish.units,
                "c": now_ms,
                "k": idempotency_key,
            },
        )
        found = connection.execute(
            text("UPDATE twin_stock SET sold = sold + :u WHERE sku = :s AND sold + :u <= total"),
            {"u": wish.units, "s": wish.sku},
        )
        if found.rowcount != 1:
            raise HTTPException(409)
    message = {"order_id": order_id, "buyer": claims["sub"], "sku": wish.sku, "units": wish.units}
    REDIS.xadd("twin:orders", {"body": json.dumps(message)})
    return {**message, "created_ms": now_ms}
