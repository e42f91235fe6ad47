"""The URLs of a sale at the edge: its product pages as the gateway serves them, hottest first, and what a file adds.

Each URL carries a mark of what its page shows; when the mark changes, what the edge holds is old.
"""

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from heapq import nsmallest
from pathlib import Path
from urllib.parse import quote, urlsplit

from saleops.domain.items import Item
from saleops.errors import ConfigError

URL_MAX = 1_024
URLS_MAX = 100_000
"""The preload queue of an account."""
ERRORS_SHOWN = 20
FILE_MAX = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class EdgeUrl:
    """``mark`` is empty where nobody knows what the page holds."""

    url: str
    mark: str = ""


def product_urls(
    items: Iterable[Item], domain: str, *, hottest: int | None = None
) -> list[EdgeUrl]:
    """The product pages, hottest first and in the sale's order among equals; ``hottest`` keeps only so many.

    One pass; never more than ``URLS_MAX`` are kept."""
    most = URLS_MAX if hottest is None else min(hottest, URLS_MAX)
    wanted = nsmallest(most, enumerate(items), key=lambda pair: (-pair[1].popularity, pair[0]))
    return [EdgeUrl(page_url(domain, item.sku), _mark(item)) for _, item in wanted]


def page_url(domain: str, sku: str) -> str:
    return f"https://{domain}/products/{quote(sku, safe=':._-~')}"


def _mark(item: Item) -> str:
    """Of what a product page shows; units left are not on it."""
    shown = (
        item.sku,
        item.name,
        item.price_fen,
        item.limit_per_buyer,
        item.department,
        item.category,
    )
    return blake2b("\x1f".join(map(str, shown)).encode(), digest_size=8).hexdigest()


def file_urls(path: Path, domain: str, *, never: Sequence[str]) -> list[EdgeUrl]:
    """The URLs of a text file, one a line: whole ones, or paths on ``domain``. Empty lines and those after # do not count.

    Raises ConfigError naming every line that is no URL of the domain, or one under ``never``: paths the edge may not keep.
    """
    lines = _text_of(path).splitlines()
    found: dict[str, EdgeUrl] = {}
    errors: list[str] = []
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        problem = _problem(text, domain, never)
        if problem:
            errors.append(f"{path}:{number}: {problem}: {text[:200]!r}")
            continue
        url = text if "://" in text else f"https://{domain}{text}"
        found.setdefault(url, EdgeUrl(url))
    if errors:
        more = len(errors) - ERRORS_SHOWN
        shown = "\n".join(f"  {each}" for each in errors[:ERRORS_SHOWN])
        raise ConfigError(
            f"{path} names what cannot be preloaded; nothing was sent\n{shown}"
            + (f"\n  ... and {more} more" if more > 0 else ""),
            hint=f"Write one URL of https://{domain} a line, or its path alone: /static/app.js",
        )
    return list(found.values())


def _text_of(path: Path) -> str:
    """Raises ConfigError where ``path`` is no file of text, or too large to be one of URLs: a device has no end."""
    try:
        # Without O_NONBLOCK a pipe that nobody writes to would hold the open itself.
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise ConfigError(
                    f"cannot read {path}: it is no regular file; nothing was sent",
                    hint="Give --urls a text file with one URL a line.",
                )
            content = file.read(FILE_MAX + 1)
            if len(content) > FILE_MAX:
                raise ConfigError(
                    f"cannot read {path}: it is larger than {FILE_MAX // 1024 // 1024} MiB; nothing was sent",
                    hint=f"A run takes at most {URLS_MAX:,} URLs; give --urls a shorter file.",
                )
            return content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise ConfigError(f"cannot read {path}: {why}; nothing was sent") from error


def _problem(text: str, domain: str, never: Sequence[str]) -> str:
    if any(letter.isspace() or not letter.isprintable() for letter in text):
        return "a URL has no spaces"
    try:
        parts = urlsplit(text if "://" in text else f"https://{domain}{text}")
        host = parts.hostname
    except ValueError:
        return "no URL"
    if "://" not in text and not text.startswith("/"):
        return "neither a URL nor a path that begins with /"
    if parts.scheme not in ("http", "https") or host != domain:
        return f"not on {domain}"
    if parts.fragment:
        return "the edge never sees what follows #"
    if len(text) + len(domain) + 8 > URL_MAX:
        return f"longer than {URL_MAX} characters"
    for path in never:
        if parts.path == path or parts.path.startswith(path.rstrip("/") + "/"):
            return f"the edge may not keep {path}"
    return ""


def together(*lists: Sequence[EdgeUrl]) -> list[EdgeUrl]:
    """All of them in order, each URL once."""
    found: dict[str, EdgeUrl] = {}
    for urls in lists:
        for each in urls:
            found.setdefault(each.url, each)
    return list(found.values())
