"""Look at every resource of a sale, in dependency order. Only reads.

Each resource says by itself what to read (``Resource.look``). Where it asks for the id of one that is not there, it cannot be
there either. Within one survey the same read is sent once: three vSwitches are found in one list.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from saleops.domain.cloud.calls import Answer, Call
from saleops.domain.cloud.resources import Condition, Found, Resource
from saleops.errors import CloudError
from saleops.events import Advanced, Finished, Observer, Started, silent

Read = Callable[[Call], Answer]


class NotThere(LookupError):
    """A resource was asked for an output it does not have, for it is not there (yet)."""

    def __init__(self, key: str, output: str) -> None:
        super().__init__(f"{key} has no {output}")
        self.key = key


class Outputs:
    """The outputs of what was found: a ``Known``. Raises NotThere."""

    def __init__(self, found: Mapping[str, Found | None]) -> None:
        self._found = found

    def __call__(self, key: str, output: str = "id") -> str:
        found = self._found.get(key)
        if found is None or found.condition is Condition.FOREIGN or output not in found.outputs:
            raise NotThere(key, output)
        return found.outputs[output]


class Promised(Outputs):
    """As Outputs; what is not there reads like ``${vpc.id}``, and so does what is about to go."""

    def __call__(self, key: str, output: str = "id") -> str:
        found = self._found.get(key)
        if found is not None and found.condition is Condition.LEAVING:
            return placeholder(key, output)
        try:
            return super().__call__(key, output)
        except NotThere:
            return placeholder(key, output)


def placeholder(key: str, output: str) -> str:
    return f"${{{key}.{output}}}"


@dataclass(slots=True)
class Survey:
    """``found`` has a value for every resource that was looked at."""

    found: dict[str, Found | None] = field(default_factory=dict)

    @property
    def known(self) -> Outputs:
        return Outputs(self.found)

    @property
    def promised(self) -> Promised:
        return Promised(self.found)


def look_at(resource: Resource, found: Mapping[str, Found | None], read: Read) -> Found | None:
    """Carry out ``resource.look``. Raises CloudError for a read that failed and that the resource did not expect."""
    look = resource.look(Outputs(found))
    try:
        call = next(look)
        while True:
            try:
                answer = read(call)
            except CloudError as error:
                call = look.throw(error)
            else:
                call = look.send(answer)
    except StopIteration as stop:
        result: Found | None = stop.value
        return result
    except NotThere:
        return None
    except CloudError as error:
        if error.kind == "missing":
            return None
        raise
    finally:
        look.close()


def survey(
    resources: Sequence[Resource],
    read: Read,
    *,
    observe: Observer = silent,
    task: str = "look at the cloud",
) -> Survey:
    """Look at ``resources``, which are in dependency order. Raises CloudError; nothing was changed."""
    seen = Survey()
    memory = Remembered(read)
    observe(Started(task, len(resources), "resources"))
    try:
        for number, resource in enumerate(resources, start=1):
            seen.found[resource.key] = look_at(resource, seen.found, memory)
            observe(Advanced(task, number, resource.name))
    except BaseException:
        observe(Finished(task, "stopped; nothing was changed", ok=False))
        raise
    there = sum(one is not None for one in seen.found.values())
    observe(Finished(task, f"{there} of {len(resources)} resources are there"))
    return seen


class Remembered:
    """A reader that sends each read once."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._answers: dict[str, Answer] = {}

    def __call__(self, call: Call) -> Answer:
        what = json.dumps(
            [call.product, call.api, call.params, call.path, call.body], sort_keys=True, default=str
        )
        if what not in self._answers:
            self._answers[what] = self._read(call)
        return self._answers[what]
