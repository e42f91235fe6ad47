"""Several calls at the same moment, a thread each."""

import threading
from collections.abc import Callable


def in_threads(*calls: Callable[[], None]) -> None:
    """Run all at once; raise what one of them raised."""
    errors: list[BaseException] = []
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], None]) -> None:
        try:
            barrier.wait(10)
            call()
        except BaseException as error:  # noqa: BLE001 # raised again below, in the test's thread
            errors.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if errors:
        raise errors[0]
