"""Whether a cluster enforces NetworkPolicies, by its Terraform, by ACK's request body, or by Terway's ConfigMap."""

import json
import re
from collections.abc import Iterator
from typing import Any

from saleops.domain.lint.documents import KeyPath, LintDocument
from saleops.domain.lint.fleet import Fleet
from saleops.domain.lint.plain_values import scalar, table, tables, text
from saleops.domain.lint.terraform_blocks import resources

_ON = re.compile(r"NetworkPolicy[\"']?\s*[:=]\s*[\"']?true", re.I)


def switched_off(fleet: Fleet) -> Iterator[tuple[LintDocument, KeyPath, str]]:
    """(document, path, what is wrong) of each cluster that stores policies and does not enforce them."""
    for document in fleet.of_kind("ConfigMap"):
        if document.name == "eni-config":
            path: KeyPath = ("data", "disable_network_policy")
            if scalar(document.at(*path)).lower() == "true":
                yield document, path, 'Terway runs with disable_network_policy: "true"'
    for document in fleet.of_format("json"):
        if text(document.at("cluster_type")) or document.at("container_cidr") is not None:
            # A range for Flannel without any add-on is no cluster as it should be: what ACK makes of it, ACK002 says.
            found = _off(document.at("addons"), None)
            if found:
                yield document, found[0] if document.at(*found[0]) is not None else (), found[1]
    for block in resources(fleet, "alicloud_cs_managed_kubernetes"):
        addons = block.value.get("addons")
        listed = [addons] if isinstance(addons, dict) else addons
        if listed is not None and not isinstance(listed, list):
            continue  # worked out elsewhere
        if not listed and any(word in block.value for word in ("dynamic", "pod_vswitch_ids")):
            continue
        found = _off(listed, block.value.get("pod_cidr"))
        if found:
            at = tuple("pod_cidr" if one == "container_cidr" else one for one in found[0])
            yield block.document, (*block.path, *at), found[1]


def _off(addons: Any, pod_cidr: Any) -> tuple[KeyPath, str] | None:
    for i, one in tables(addons):
        name = text(one.get("name"))
        if "flannel" in name:
            return ("addons", i), "the cluster's network is Flannel, which never enforces"
        if name.startswith("terway"):
            return (
                None
                if _is_on(one.get("config"))
                else (("addons", i), f'{name} has no NetworkPolicy "true"')
            )
    if pod_cidr is not None:
        return (
            "container_cidr",
        ), "the cluster has a range for Flannel and no Terway: Flannel never enforces"
    return None


def _is_on(config: Any) -> bool:
    """``config`` is JSON in a text; what Terraform works out is looked through for the word."""
    if not isinstance(config, str):
        return scalar(table(config).get("NetworkPolicy")).lower() == "true"
    try:
        return scalar(table(json.loads(config)).get("NetworkPolicy")).lower() == "true"
    except (ValueError, RecursionError):
        return bool(_ON.search(config))
