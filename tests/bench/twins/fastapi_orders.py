"""The twin of the order service: what a competent team writes first.

FastAPI on uvicorn, redis-py, SQLAlchemy; one request is one script call, one transaction with fsync, one message. The same
JWT check, the same reservation rule (a Lua script, so it is as correct as ours), the same tables and guard.

    uvicorn fastapi_orders:app     (settings from TWIN_REDIS, TWIN_DATABASE, TWIN_SECRET, TWIN_STYLE)

``TWIN_STYLE`` is "orm" (mapped classes and a Session, as SQLAlchemy's and FastAPI's tutorials do it) or "core" (the same
two statements as text, which saves SQLAlchemy's unit of work).
"""

import json
import os
import time
import uuid

import jwt
import redis
from fastapi import FastAPI, Header, HTTPException
from pydantic import BaseModel
from sqlalchemy import BigInteger, String, create_engine, text, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

REDIS = redis.Redis.from_url(os.environ["TWIN_REDIS"])
ENGINE = create_engine(os.environ["TWIN_DATABASE"], pool_size=20, max_overflow=20)
SECRET = os.environ["TWIN_SECRET"]
STYLE = os.environ["TWIN_STYLE"]
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


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "twin_orders"
    order_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    buyer: Mapped[str] = mapped_column(String(128))
    sku: Mapped[str] = mapped_column(String(64))
    units: Mapped[int]
    created_ms: Mapped[int] = mapped_column(BigInteger)
    idempotency_key: Mapped[str] = mapped_column(String(128))


class Stock(Base):
    __tablename__ = "twin_stock"
    sku: Mapped[str] = mapped_column(String(64), primary_key=True)
    total: Mapped[int] = mapped_column(BigInteger)
    sold: Mapped[int] = mapped_column(BigInteger)


def write_orm(order_id: str, buyer: str, wish: OrderRequest, now_ms: int, key: str) -> bool:
    guarded = (
        update(Stock)
        .where(Stock.sku == wish.sku, Stock.sold + wish.units <= Stock.total)
        .values(sold=Stock.sold + wish.units)
        .execution_options(synchronize_session=False)
    )
    with Session(ENGINE) as session:
        session.add(
            Order(
                order_id=order_id,
                buyer=buyer,
                sku=wish.sku,
                units=wish.units,
                created_ms=now_ms,
                idempotency_key=key,
            )
        )
        if session.execute(guarded).rowcount != 1:
            session.rollback()
            return False
        session.commit()
        return True


def write_core(order_id: str, buyer: str, wish: OrderRequest, now_ms: int, key: str) -> bool:
    insert = (
        "INSERT INTO twin_orders (order_id, buyer, sku, units, created_ms, idempotency_key)"
        " VALUES (:i, :b, :s, :u, :c, :k)"
    )
    guarded = "UPDATE twin_stock SET sold = sold + :u WHERE sku = :s AND sold + :u <= total"
    values = {"i": order_id, "b": buyer, "s": wish.sku, "u": wish.units, "c": now_ms, "k": key}
    with ENGINE.connect() as connection:
        connection.execute(text(insert), values)
        if connection.execute(text(guarded), {"u": wish.units, "s": wish.sku}).rowcount != 1:
            connection.rollback()
            return False
        connection.commit()
        return True


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
    write = write_orm if STYLE == "orm" else write_core
    if not write(order_id, claims["sub"], wish, now_ms, idempotency_key):
        raise HTTPException(409)
    message = {"order_id": order_id, "buyer": claims["sub"], "sku": wish.sku, "units": wish.units}
    REDIS.xadd("twin:orders", {"body": json.dumps(message)})
    return {**message, "created_ms": now_ms}
