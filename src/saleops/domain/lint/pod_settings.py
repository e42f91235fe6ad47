"""The settings pods get: environment variables, written down or from ConfigMaps, and the files that ConfigMaps hold."""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from saleops.domain.lint.documents import KeyPath, LintDocument
from saleops.domain.lint.estate import Pods, estate_of
from saleops.domain.lint.fleet import Fleet
from saleops.domain.lint.plain_values import scalar, table, tables, text

FILE_MAX = 100_000
_LINE = re.compile(
    r"^[ \t]*([A-Za-z][\w.-]{1,120})[ \t]*[:=][ \t]*[\"']?([^\"'\n#]{1,200}?)[\"']?[ \t]*(?:[#;].*)?$",
    re.M,
)


@dataclass(frozen=True, eq=False)
class Setting:
    """``name`` = ``value``, written at ``path`` of ``document``."""

    document: LintDocument
    path: KeyPath
    name: str
    value: str


def settings_of(fleet: Fleet) -> dict[str, list[Setting]]:
    """By who gets them: workloads (``Deployment order``), and ConfigMaps that no workload here takes."""
    found = fleet.worked_out.get("settings_of")
    if found is None:
        found = fleet.worked_out["settings_of"] = _read(fleet)
    return cast(dict[str, list[Setting]], found)


def of_pods(fleet: Fleet, pods: Pods) -> list[Setting]:
    return settings_of(fleet).get(_owner(pods), [])


def _owner(pods: Pods) -> str:
    return f"{pods.kind} {pods.namespace}/{pods.name}"


def _read(fleet: Fleet) -> dict[str, list[Setting]]:
    maps: dict[tuple[str, str], LintDocument] = {
        (one.namespace, one.name): one for one in fleet.of_kind("ConfigMap")
    }
    taken: set[tuple[str, str]] = set()
    found: dict[str, list[Setting]] = defaultdict(list)
    for pods in estate_of(fleet).pods:
        for path, container in pods.containers():
            for setting, config in _environment(pods, path, container, maps):
                if config:
                    taken.add(config)
                found[_owner(pods)].append(setting)
        for _, volume in tables(pods.spec.get("volumes")):
            config = (pods.namespace, text(table(volume.get("configMap")).get("name")))
            if config in maps:
                taken.add(config)
                found[_owner(pods)] += _of_map(maps[config])
    for key, document in maps.items():
        if key not in taken:
            found[f"ConfigMap {key[0]}/{key[1]}"] += _of_map(document)
    return dict(found)


def _environment(
    pods: Pods,
    path: KeyPath,
    container: dict[object, object],
    maps: dict[tuple[str, str], LintDocument],
) -> Iterator[tuple[Setting, tuple[str, str] | None]]:
    for _, source in tables(container.get("envFrom")):
        config = (pods.namespace, text(table(source.get("configMapRef")).get("name")))
        if config in maps:
            prefix = text(source.get("prefix"))
            for given in _of_map(maps[config]):
                name = prefix + given.name
                yield Setting(given.document, given.path, name, given.value), config
    for i, one in tables(container.get("env")):
        name = text(one.get("name"))
        value = scalar(one.get("value"))
        ref = table(table(one.get("valueFrom")).get("configMapKeyRef"))
        if name and value:
            yield Setting(pods.document, (*path, "env", i, "value"), name, value), None
        elif name and ref:
            config = (pods.namespace, text(ref.get("name")))
            key = text(ref.get("key"))
            if config in maps and (value := scalar(table(maps[config].at("data")).get(key))):
                yield Setting(maps[config], ("data", key), name, value), config


def _of_map(document: LintDocument) -> list[Setting]:
    """Each key; of a value of several lines (a file) each ``name: value`` or ``name = value`` of it as well."""
    found = []
    for key, value in table(document.at("data")).items():
        path: KeyPath = ("data", str(key))
        said = scalar(value)
        found.append(Setting(document, path, str(key), said))
        if "\n" in said and len(said) <= FILE_MAX:
            found += [Setting(document, path, name, inner) for name, inner in _LINE.findall(said)]
    return found
