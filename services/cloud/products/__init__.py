"""The products of the local cloud. A product's modules (``vpc.py``, ``vpc_nat.py``; ``r_kvstore.py`` for r-kvstore) register the
APIs that they answer; they are imported when the product is first called, so that a start pays for none of them.
"""

import importlib
import pkgutil
from functools import cache


@cache
def load_product(code: str) -> None:
    """Import every module of the product ``code``."""
    name = code.replace("-", "_")
    for module in pkgutil.iter_modules(__path__):
        if module.name == name or module.name.startswith(f"{name}_"):
            importlib.import_module(f"{__name__}.{module.name}")


@cache
def load_products() -> None:
    """Import the modules of all products."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
