"""Reads ``tables/<product>.api``. The format, by example:

    # A comment, to the end of the line.
    vpc 2016-04-28 RPC vpc.{region}.aliyuncs.com     code, version, style, endpoint: the first line that is not a comment
    also kvstore redisa                              other codes of the product
    elsewhere polardb.aliyuncs.com cn-beijing,…      regions with another endpoint

    CreateVpc writes token=ClientToken               reads | writes; then, where they apply, "form", "GET" and the token's place
      RegionId string!                               ! required, ~ deprecated, !~ both
      Bandwidth integer 1..500                       bounds: of a number, of a list's length, of a string's length
      PayType string Postpaid|Prepaid                the only values that the service takes
      Tag object[] ..20                              a list of objects, whose fields are indented below it
        Key string
      Options json:object[]                          one JSON string that holds such a list (json: any document)
      names csv                                      a list of strings that travels as one, joined by commas

    ScaleClusterNodePool writes POST /clusters/[ClusterId]/nodepools/[NodepoolId]
      ?force boolean                                 in a ROA product ? marks the query; everything else is the JSON body
      count integer!
    InstallClusterAddons writes POST /clusters/[ClusterId]/components/install
      [] object                                      the body itself is a list of these
        name string!

A file is split into its APIs when the product is first asked for, and an API is read when it is: a command that makes ten
calls reads ten blocks. A malformed table is a bug, and a ValueError that names file and line.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Literal, get_args
from urllib.parse import unquote

from saleops.cloudapi.model import Api, Field, FieldType, Product

PRODUCT_CODES = (
    *("alb", "arms", "bssopenapi", "cms", "cs", "dcdn", "ecs", "ess", "mse", "polardb", "quotas"),
    *("r-kvstore", "ram", "rocketmq", "sts", "vpc"),
)
"""One file each; a test holds this to the folder."""

_SCALARS = frozenset(get_args(FieldType)) - {"array"}
_NO_FIELDS: Mapping[str, Field] = MappingProxyType({})

_Line = tuple[int, int, list[str]]
"""Line number, indent, words."""


@dataclass(frozen=True, slots=True)
class _Block:
    number: int
    head: list[str]
    lines: list[_Line]


@dataclass(frozen=True, slots=True)
class _Table:
    file: str
    product: Product
    blocks: Mapping[str, _Block]


def products() -> tuple[Product, ...]:
    """Every product we have a table of, by code."""
    return tuple(_table(code).product for code in PRODUCT_CODES)


def product_of(code: str) -> Product | None:
    """The product with this code or alias, in any case ("R-kvstore", "redisa"); None where we have none."""
    ours = _codes().get(code.lower())
    return _table(ours).product if ours else None


def api_of(product: str, name: str) -> Api:
    """Raises LookupError, with the nearest name, where the product or the API is not in our tables."""
    api = _api(product, name)
    if api is None:
        raise LookupError(_not_there(product, name))
    return api


def apis_of(product: str) -> tuple[Api, ...]:
    """Every API of ``product`` in the table's order. Raises LookupError for a product without a table."""
    ours = _codes().get(product.lower())
    if ours is None:
        raise LookupError(_not_there(product, ""))
    return tuple(_read_api(ours, name) for name in _table(ours).blocks)


def find_rpc(action: str, version: str) -> Api | None:
    """What an RPC request asks for. Versions tell products apart: no two of ours share one."""
    code = _versions().get(version)
    return _api(code, action) if code and _table(code).product.style == "RPC" else None


def find_roa(method: str, path: str, version: str = "") -> tuple[Api, dict[str, str]] | None:
    """What a ROA request asks for, and the values of its path's slots, percent-decoded.

    ``path`` is the raw path of the request, without its query. Written-out parts win over slots. Two products may share a
    path (``GET /regions``): ``version``, which every ROA request names, tells them apart.
    """
    parts = path.split("/")
    wanted = _versions().get(version)
    for code, name, pattern in _routes().get((method.upper(), len(parts)), ()):
        if wanted not in (None, code):
            continue
        values = _match(pattern, parts)
        if values is not None:
            return _read_api(code, name), values
    return None


def _match(pattern: list[str], parts: list[str]) -> dict[str, str] | None:
    values = {}
    for slot, part in zip(pattern, parts, strict=True):
        if slot.startswith("["):
            if not part:
                return None
            values[slot[1:-1]] = unquote(part)
        elif slot != part:
            return None
    return values


@cache
def _routes() -> Mapping[tuple[str, int], list[tuple[str, str, list[str]]]]:
    routes: dict[tuple[str, int], list[tuple[str, str, list[str]]]] = {}
    for code in PRODUCT_CODES:
        table = _table(code)
        if table.product.style == "ROA":
            for name, block in table.blocks.items():
                method, pattern = block.head[2], block.head[3].split("/")
                routes.setdefault((method, len(pattern)), []).append((code, name, pattern))
    for candidates in routes.values():
        candidates.sort(key=lambda route: [part.startswith("[") for part in route[2]])
    return routes


@cache
def _codes() -> Mapping[str, str]:
    return {
        code: table.code for table in products() for code in (table.code.lower(), *table.aliases)
    }


@cache
def _versions() -> Mapping[str, str]:
    return {product.version: product.code for product in products()}


def _api(product: str, name: str) -> Api | None:
    ours = _codes().get(product.lower())
    return _read_api(ours, name) if ours and name in _table(ours).blocks else None


def _not_there(product: str, name: str) -> str:
    from difflib import get_close_matches

    ours = _codes().get(product.lower())
    if ours is None:
        return f"no table of a product {product!r}; there are {', '.join(PRODUCT_CODES)}"
    near = get_close_matches(name, _table(ours).blocks, 1)
    return f"{ours} has no API {name!r}" + (f"; did you mean {near[0]}?" if near else "")


@cache
def _table(code: str) -> _Table:
    file = f"{code}.api"
    text = files("saleops.cloudapi").joinpath("tables", file).read_text(encoding="utf-8")
    return read_table(file, text)


@cache
def _read_api(code: str, name: str) -> Api:
    table = _table(code)
    return _api_from(table.file, table.product, table.blocks[name])


def read_table(file: str, text: str) -> _Table:
    """The product and the unread blocks of one table."""
    lines = _lines(file, text)
    number, _, head = next(lines, (1, 0, []))
    if len(head) != 4 or head[2] not in ("RPC", "ROA"):
        raise _malformed(file, number, "expected: code version RPC|ROA endpoint")
    aliases: tuple[str, ...] = ()
    elsewhere: dict[str, str] = {}
    blocks: dict[str, _Block] = {}
    into: list[_Line] | None = None
    for number, indent, words in lines:
        if indent:
            if into is None:
                raise _malformed(file, number, "a field before the first API")
            into.append((number, indent, words))
        elif words[0] == "also":
            aliases += tuple(word.lower() for word in words[1:])
        elif words[0] == "elsewhere":
            if len(words) != 3:
                raise _malformed(file, number, "expected: elsewhere endpoint region,region")
            elsewhere.update(dict.fromkeys(words[2].split(","), words[1]))
        elif words[0] in blocks:
            raise _malformed(file, number, f"{words[0]} is there twice")
        else:
            into = []
            _check_head(file, number, words, head[2])
            blocks[words[0]] = _Block(number, words, into)
    style: Literal["RPC", "ROA"] = "ROA" if head[2] == "ROA" else "RPC"
    return _Table(file, Product(head[0], head[1], style, head[3], aliases, elsewhere), blocks)


def _check_head(file: str, number: int, words: list[str], style: str) -> None:
    roa = style == "ROA"
    extras = words[4 if roa else 2 :]
    if (
        len(words) < (4 if roa else 2)
        or words[1] not in ("reads", "writes")
        or (roa and not (words[2].isupper() and words[3].startswith("/")))
        or any(word not in ("form", "GET") and word[:6] != "token=" for word in extras)
        or "token=" in extras
    ):
        shape = "Api reads|writes METHOD /path" if roa else "Api reads|writes"
        raise _malformed(file, number, f"expected: {shape} [form] [token=name]")


def apis_in(table: _Table) -> tuple[Api, ...]:
    """Every API of a table that was read from text (tests, and whoever checks a table)."""
    return tuple(_api_from(table.file, table.product, block) for block in table.blocks.values())


def _api_from(file: str, product: Product, block: _Block) -> Api:
    roa = product.style == "ROA"
    extras = block.head[4 if roa else 2 :]
    params: dict[str, Field] = {}
    whole: Field | None = None
    fields, position = _fields(file, block.lines, 0)
    if position != len(block.lines):
        raise _malformed(file, block.lines[position][0], "indented less than its neighbours")
    for name, field in list(fields.items()):
        if not roa:
            params[name] = field
        elif name.startswith("?"):
            params[name[1:]] = fields.pop(name)
        elif name == "[]":
            whole = Field("array", items=fields.pop(name))
    if whole and fields:
        raise _malformed(file, block.number, "a body that is a list has no fields of its own")
    token = next((word[len("token=") :] for word in extras if word.startswith("token=")), "")
    if roa and fields and not whole:
        whole = Field("object", fields=MappingProxyType(fields))
    api = Api(
        product,
        block.head[0],
        block.head[2] if roa else "GET" if "GET" in extras else "POST",
        block.head[3] if roa else "",
        MappingProxyType(params),
        whole,
        token,
        block.head[1] == "reads",
        "form" in extras,
    )
    if token and token.removeprefix("body.") not in (
        whole.fields if whole and token.startswith("body.") else params
    ):
        raise _malformed(file, block.number, f"the token {token} is no field of the API")
    return api


def _fields(file: str, lines: list[_Line], position: int) -> tuple[dict[str, Field], int]:
    """The fields from ``position`` on that stand at its indent, and the position after them."""
    found: dict[str, Field] = {}
    indent = lines[position][1] if position < len(lines) else 0
    while position < len(lines) and lines[position][1] == indent:
        number, _, words = lines[position]
        position += 1
        inner: Mapping[str, Field] = _NO_FIELDS
        if position < len(lines) and lines[position][1] > indent:
            inner, position = _fields(file, lines, position)
        if words[0] in found:
            raise _malformed(file, number, f"{words[0]} is there twice")
        found[words[0]] = _field(file, number, words, inner)
    return found, position


def _field(file: str, number: int, words: list[str], inner: Mapping[str, Field]) -> Field:
    if not 2 <= len(words) <= 4:
        raise _malformed(file, number, "expected: name type[!~] [low..high] [value|value]")
    bare = words[1].rstrip("!~")
    marks = words[1][len(bare) :]
    low = high = None
    values: tuple[str, ...] = ()
    for word in words[2:]:
        if ".." in word:
            low, high = _bounds(file, number, word)
        else:
            values = tuple(word.split("|"))
    field_type, items, joined = _type(file, number, bare, inner, values)
    if inner and items is None and field_type not in ("object", "json"):
        raise _malformed(file, number, f"a {bare} has no fields")
    return Field(
        field_type,
        "!" in marks,
        items,
        _NO_FIELDS if items else inner,
        () if items else values,
        low,
        high,
        "~" in marks,
        joined,
    )


def _type(
    file: str, number: int, word: str, inner: Mapping[str, Field], values: tuple[str, ...]
) -> tuple[FieldType, Field | None, bool]:
    holder: FieldType = "array"
    if word.startswith("json:"):
        word, holder = word[len("json:") :], "json"
        if word == "object":
            return holder, None, False
        if not word.endswith("[]"):
            raise _malformed(file, number, "json: holds an object or a list")
    if word == "csv":
        return "array", Field("string", values=values), True
    if word.endswith("[]"):
        return holder, Field(_scalar(file, number, word[:-2]), fields=inner, values=values), False
    return _scalar(file, number, word), None, False


def _scalar(file: str, number: int, word: str) -> FieldType:
    if word not in _SCALARS:
        raise _malformed(file, number, f"no type {word!r}")
    return word  # type: ignore[return-value]  # a member of _SCALARS, which mypy cannot narrow by


def _bounds(file: str, number: int, word: str) -> tuple[float | None, float | None]:
    low, _, high = word.partition("..")
    try:
        return (float(low) if low else None), (float(high) if high else None)
    except ValueError as error:
        raise _malformed(file, number, f"no bounds: {word}") from error


def _lines(file: str, text: str) -> Iterator[_Line]:
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if words:
            indent = len(line) - len(line.lstrip(" "))
            if indent % 2 or line.startswith("\t"):
                raise _malformed(file, number, "indent by two spaces a level")
            yield number, indent, words


def _malformed(file: str, number: int, why: str) -> ValueError:
    return ValueError(f"{file}:{number}: {why}")
