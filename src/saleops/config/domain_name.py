"""A DNS name in a file of ours, and in words what is wrong with one that is none."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

_DOMAIN = r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.){1,8}[a-z]{2,20}$"


def _domain_name(text: str) -> str:
    if re.fullmatch(_DOMAIN, text):
        return text
    why = "write it as in shop.example.com"
    if "://" in text or "/" in text:
        why = f"write the name alone, without https:// and path{_meant(text)}"
    elif ":" in text:
        why = f"write it without the port{_meant(text)}; a port is `origin_port`"
    elif re.fullmatch(r"[0-9.]+", text):
        why = "an address has no name; the load balancer's DNS name is wanted"
    elif text != text.lower():
        why = f"write it in lower case{_meant(text)}"
    elif "_" in text:
        why = "an underscore is not allowed in it"
    elif "." not in text:
        why = "it has no dot; write it as in shop.example.com"
    raise ValueError(f"{text[:80]!r} is no domain name: {why}")


def _meant(text: str) -> str:
    bare = text.partition("://")[2] or text
    name = re.split(r"[/:?#]", bare)[0].lower()
    return f": {name}" if re.fullmatch(_DOMAIN, name) else ""


Domain = Annotated[
    str,
    AfterValidator(_domain_name),
    Field(json_schema_extra={"pattern": _DOMAIN}),
]
