"""Which objects are applied together: a repository holds many an example, overlay and test that share a label by accident.

A release is a folder (of a chart: the chart's), and all that a kustomization.yaml reaches. Objects meet within a release; across
releases only where both write down the same namespace and neither is there a second time, as overlays' objects are.
"""

import posixpath
import re
from collections import defaultdict
from functools import cache
from typing import cast

from saleops.domain.lint.documents import LintDocument
from saleops.domain.lint.fleet import Fleet
from saleops.domain.lint.plain_values import rows

_CHART = re.compile(r"(?:/charts/.*|/templates(?:/.*)?)$")
_KUSTOMIZATION = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_LISTS = ("resources", "bases", "components", "patchesStrategicMerge")

Identity = tuple[str, str, str]


class Releases:
    """Of one fleet; see the module."""

    def __init__(self, fleet: Fleet) -> None:
        self._reached = _kustomized(fleet)
        self._of_file = cache(self._read)
        self._homes: dict[Identity, set[frozenset[str]]] = defaultdict(set)
        for one in fleet.documents:
            if one.kind:
                self._homes[identity(one)].add(self._of_file(one.file))

    def meet(self, one: LintDocument, other: LintDocument) -> bool:
        """Whether the two are applied together, as far as anybody can tell from the files."""
        if one.file == other.file:
            return one.namespace == other.namespace
        if one.namespace != other.namespace:
            return False
        if self._of_file(one.file) & self._of_file(other.file):
            return True
        return (
            one.says_namespace
            and other.says_namespace
            and len(self._homes[identity(one)]) < 2
            and len(self._homes[identity(other)]) < 2
        )

    def may_meet(self, one: LintDocument, other: LintDocument) -> bool:
        """As ``meet``, for who says that something is missing: a namespace that is not written down may be the other's."""
        if self.meet(one, other):
            return True
        if one.says_namespace and other.says_namespace:
            return False
        return one.file == other.file or bool(self._of_file(one.file) & self._of_file(other.file))

    def _read(self, file: str) -> frozenset[str]:
        folder = posixpath.dirname(file.replace("\\", "/"))
        found = {_CHART.sub("", folder)}
        for place in (posixpath.normpath(file.replace("\\", "/")), posixpath.normpath(folder)):
            found |= self._reached.get(place, set())
        return frozenset(found)


def releases_of(fleet: Fleet) -> Releases:
    found = fleet.worked_out.get("releases")
    if found is None:
        found = fleet.worked_out["releases"] = Releases(fleet)
    return cast(Releases, found)


def identity(one: LintDocument) -> Identity:
    """What an API server tells objects apart by."""
    return one.kind, one.namespace, one.name


def _kustomized(fleet: Fleet) -> dict[str, set[str]]:
    """Files and folders -> the kustomizations that reach them."""
    listed: dict[str, list[str]] = {}
    for document in fleet.documents:
        folder, _, name = document.file.replace("\\", "/").rpartition("/")
        if name in _KUSTOMIZATION:
            found = listed.setdefault(posixpath.normpath(folder), [])
            for key in _LISTS:
                found += [
                    posixpath.normpath(posixpath.join(folder, one))
                    for one in rows(document.at(key))
                    if isinstance(one, str) and "://" not in one
                ]
    reached: dict[str, set[str]] = defaultdict(set)
    for root in listed:
        waiting = [root]
        while waiting:
            place = waiting.pop()
            if f"kustomization {root}" not in reached[place]:
                reached[place].add(f"kustomization {root}")
                waiting += listed.get(place, ())
    return dict(reached)
