"""Rules of DCDN preloads and refreshes (DCDN 2018-01-15, limits read 2026-11-23)."""

from collections.abc import Iterator

from saleops.cloudapi.given import Given
from saleops.cloudapi.problem import Problem

_PRELOAD_URLS = 100
_REFRESH_PATHS = {"File": 1000, "Directory": 100}
_TASK_IDS = 10


def preload(call: Given) -> Iterator[Problem]:
    yield from _paths(call, _PRELOAD_URLS)


def refresh(call: Given) -> Iterator[Problem]:
    most = _REFRESH_PATHS.get(call.text("ObjectType") or "File")
    if most is not None:
        yield from _paths(call, most)


def _paths(call: Given, most: int) -> Iterator[Problem]:
    paths = [line for line in call.text("ObjectPath").replace("\r\n", "\n").split("\n") if line]
    if call.has("ObjectPath") and not 1 <= len(paths) <= most:
        message = f"holds {len(paths)} paths, one a line; a call takes 1 to {most}"
        yield call.problem("ObjectPath", "range", message)


def refresh_task_ids(call: Given) -> Iterator[Problem]:
    ids = call.text("TaskId").split(",")
    if len(ids) > _TASK_IDS:
        message = f"holds {len(ids)} ids, joined by commas; a call takes up to {_TASK_IDS}"
        yield call.problem("TaskId", "range", message)
