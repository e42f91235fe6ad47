"""Several processes on one orders database: the guard holds, and tables are created once."""

import subprocess
import sys
from collections import Counter
from contextlib import ExitStack

from saleops.domain.items import Item
from saleops.domain.orders import LIVE_STATES
from saleops.ports.orders import SaleRow
from saleops.wiring import open_order_book

BUYER = """
import sys
from random import Random
from saleops.domain.orders import Order, order_id_of
from saleops.wiring import open_order_book

url, name, seed = sys.argv[1:]
print('ready', flush=True)
sys.stdin.readline()
chance, number, sold = Random(int(seed)), 0, {"hot": 0, "warm": 0}
with open_order_book(url) as book:
    size = 40
    while size:
        batch = []
        for _ in range(size):
            number += 1
            sku, units = chance.choice([("hot", 1), ("hot", 2), ("warm", 1)])
            order_id = order_id_of("s", name, str(number))
            batch.append(Order(order_id, name, sku, units, 100, number, 0, str(number)))
        outcome = book.place(f"{name}-{number}", batch)
        assert not outcome.existing
        if outcome.committed:
            for order in batch:
                sold[order.sku] += order.units
        else:
            size //= 2
    for sku in sold:  # the last units, one by one
        while True:
            number += 1
            order = Order(order_id_of("s", name, str(number)), name, sku, 1, 100, number, 0, "k")
            if not book.place(f"{name}-{number}", [order]).committed:
                break
            sold[sku] += 1
print(sold["hot"], sold["warm"])
"""

MIGRATOR = """
import sys
from saleops.wiring import open_order_book
print("ready", flush=True)
sys.stdin.readline()
with open_order_book(sys.argv[1]) as book:
    for _ in range(3):
        book.migrate()
        book.close()
"""


def run_at_once(script: str, *arguments: tuple[str, ...], together: bool = False) -> list[str]:
    """Run ``script`` in one process for each of ``arguments``; returns what they print.

    ``together``: each waits until the last has said that it is ready.
    """
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", script, *each],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            for each in arguments
        ]
        for process in processes:
            stack.callback(process.kill)
        for process in processes if together else ():
            assert process.stdout is not None
            process.stdout.readline()
        for process in processes if together else ():
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        answers = [process.communicate(timeout=90) for process in processes]
        for process, (_, errors) in zip(processes, answers, strict=True):
            assert process.returncode == 0, errors
        return [output for output, _ in answers]


def test_two_processes_sell_a_hot_sku_to_the_last_unit_and_never_one_more(
    any_database_url: str,
) -> None:
    with open_order_book(any_database_url) as book:
        book.migrate()
        book.begin_sale(SaleRow("s", "e", "v", 2, 30_004, False))
        book.add_items(
            [(Item("hot", "Hot", 100, 20_003), 16), (Item("warm", "Warm", 100, 10_001), 1)]
        )
        answers = run_at_once(
            BUYER, (any_database_url, "ann", "1"), (any_database_url, "bob", "2"), together=True
        )
        hot, warm = (sum(int(answer.split()[column]) for answer in answers) for column in (0, 1))
        # Both had their turns: neither waited while the other sold it all (SQLite's own lock lets that happen).
        assert all(int(answer.split()[0]) > 0 for answer in answers), answers
        assert (hot, warm) == (20_003, 10_001)
        assert {row.sku: row.sold for row in book.every_stock()} == {"hot": 20_003, "warm": 10_001}
        in_orders: Counter[str] = Counter()
        for order in book.every_order():
            assert order.state in LIVE_STATES
            in_orders[order.sku] += order.units
        assert in_orders == {"hot": 20_003, "warm": 10_001}


def test_processes_that_create_the_tables_at_once_all_succeed(any_database_url: str) -> None:
    run_at_once(MIGRATOR, *[(any_database_url,)] * 6, together=True)
    with open_order_book(any_database_url) as book:
        book.migrate()
        assert book.products() == []
