"""Acts on the world that no API has, such as the reclaim of a spot node: a product registers them, the control API calls them."""

from collections.abc import Callable, Mapping
from typing import Any

from saleops.services.cloud.world import World

Hook = Callable[[World, Mapping[str, Any]], dict[str, Any]]
"""Gets the control request's document and returns the answer's. Raises ApiError."""

HOOKS: dict[str, Hook] = {}


def hook(name: str) -> Callable[[Hook], Hook]:
    """``@hook("reclaim")`` answers ``POST /_local/reclaim``."""

    def register(act: Hook) -> Hook:
        if name in HOOKS:
            raise ValueError(f"the hook {name} is there twice")
        HOOKS[name] = act
        return act

    return register
