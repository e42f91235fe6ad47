"""JSON with places: request bodies of the aliyun tool, Kubernetes objects, lists of Sentinel rules.

What is JSON is decided by the json module; where its values stand is asked of the YAML reader, because JSON is YAML but for
a few escapes. Where that one stumbles the values are there all the same, only without their places.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from saleops.config.yaml_stream import parse_stream
from saleops.domain.lint.documents import KeyPath, LintDocument, Place
from saleops.operations.lint.parsed import (
    Parsed,
    documents_of,
    format_of,
    sentence,
    trouble,
    unrendered_line,
)


def parse_json(name: str, text: str) -> Parsed:
    """The one document of ``text``, or its Kubernetes objects."""
    parsed = Parsed()
    if not text.strip():
        return parsed
    try:
        value = json.loads(text)
    except RecursionError:
        parsed.troubles.append(trouble("SRC004", name, 1, 1, "This is nested too deep to be read"))
        return parsed
    except json.JSONDecodeError as error:
        return _broken(name, text, error)
    except ValueError as error:  # a number of thousands of digits
        parsed.troubles.append(trouble("SRC001", name, 1, 1, sentence(str(error))))
        return parsed
    stream = parse_stream(text, Path(name))
    for fault in stream.faults:
        if fault.kind == "twice":
            parsed.troubles.append(trouble("SRC002", name, fault.line, fault.column, fault.message))
        elif fault.kind in ("deep", "large"):
            message = sentence(fault.message)
            parsed.troubles.append(trouble("SRC004", name, fault.line, fault.column, message))
            return parsed
    places: dict[KeyPath, Place] = {}
    keys: dict[KeyPath, Place] = {}
    if len(stream.documents) == 1 and _same_shape(stream.documents[0].value, value):
        document = stream.documents[0]
        places, keys = document.places, document.keys
        if format_of(value) == "kubernetes":
            found = documents_of(name, text, document)
            parsed.documents += [replace(one, json=True) for one in found]
            return parsed
    if name.endswith(".tf.json") and isinstance(value, dict):
        from saleops.operations.lint.hcl import from_json

        parsed.documents.append(from_json(name, text, value, places, keys))
        return parsed
    format_ = format_of(value)
    format_ = format_ if format_ == "kubernetes" else "json"
    first = places.get((), (1, 1))[0]
    parsed.documents.append(
        LintDocument(name, format_, value, text, places, keys, first, json=True)
    )
    return parsed


def _same_shape(left: Any, right: Any) -> bool:
    """Whether the YAML reader saw the same structure at the top, which is all that its places need."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys()
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right)
    return type(left) is type(right)


def _broken(name: str, text: str, error: json.JSONDecodeError) -> Parsed:
    parsed = Parsed()
    template = unrendered_line(text)
    if template is not None:
        line, column, shown = template
        message = f"{shown} is a template that nobody has rendered"
        parsed.troubles.append(trouble("SRC003", name, line, column, message))
    else:
        message = sentence(f"this is no JSON: {error.msg}")
        parsed.troubles.append(trouble("SRC001", name, error.lineno, error.colno, message))
    return parsed
