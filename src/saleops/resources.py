"""The data files that travel in the package: Lua scripts and templates."""

from functools import cache
from importlib.resources import files


@cache
def read_lua(name: str) -> str:
    """The text of ``lua/<name>.lua``, e.g. ``read_lua("stock/reserve")``. Raises FileNotFoundError."""
    return files("saleops").joinpath("lua", *f"{name}.lua".split("/")).read_text(encoding="utf-8")


@cache
def read_template(name: str) -> str:
    """The text of ``templates/<name>``. Raises FileNotFoundError."""
    return files("saleops").joinpath("templates", *name.split("/")).read_text(encoding="utf-8")
