"""The idempotency token of a call, and what tells two calls with the same one apart."""

import hashlib
import json

from saleops.services.cloud.answers import LocalCall


def token_of(call: LocalCall) -> str:
    place = call.api.token
    if not place:
        return ""
    if place.startswith("body."):
        holder = call.body if isinstance(call.body, dict) else {}
        return str(holder.get(place.removeprefix("body.")) or "")
    return str(call.params.get(place) or "")


def digest_of(call: LocalCall) -> str:
    """Tells two calls apart by all they say but their token."""
    name = call.api.token
    body = call.body
    params = {key: value for key, value in call.params.items() if key != name}
    if name.startswith("body.") and isinstance(body, dict):
        body = {key: value for key, value in body.items() if key != name.removeprefix("body.")}
    said = json.dumps([params, dict(call.path), body, call.region], sort_keys=True, default=str)
    return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()
