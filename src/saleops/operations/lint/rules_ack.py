"""Rules of ACK request bodies: the same checks that `saleops provision` holds its own requests to."""

from collections.abc import Callable, Collection, Iterator

from saleops.cloudapi.checks import Problem
from saleops.domain.lint.documents import KeyPath
from saleops.domain.lint.findings import Edit
from saleops.domain.lint.fleet import Fleet
from saleops.domain.lint.rules import Hit, rule
from saleops.operations.lint.ack_bodies import Body, bodies

_API = "Alibaba Cloud CS 2015-12-15, CreateCluster and CreateClusterNodePool"
_EDITION = {"profile", "cluster_spec"}
_NETWORK = {"addons", "pod_vswitch_ids", "container_cidr", "node_cidr_mask"}
_PRICE = {"spot_price_limit"}
_SPT001 = "SpotWithPriceLimit needs a price limit"
_SHARE = {"on_demand_percentage_above_base_capacity", "on_demand_base_capacity"}
_PLACE = {"vswitch_ids", "zone_ids", "vpcid"}
_SIZE = {"desired_size", "min_instances", "max_instances"}
_REGION = {"region_id"}
_SOME_RULE = _EDITION | _NETWORK | _PRICE | _SHARE | _PLACE | _SIZE | _REGION


def _name(problem: Problem) -> str:
    return problem.where.rpartition(".")[2].split("[")[0]


def _is_worker_field(problem: Problem) -> bool:
    return problem.code == "value" and problem.message.startswith("is deprecated")


def _grouped(body: Body, names: Collection[str]) -> Iterator[tuple[str, list[Problem]]]:
    """The problems of the fields ``names``, those of one object together."""
    found: dict[str, list[Problem]] = {}
    for problem in body.problems():
        if _name(problem) in names and not _is_worker_field(problem):
            found.setdefault(problem.where.rpartition(".")[0], []).append(problem)
    yield from found.items()


def _hits(
    fleet: Fleet,
    names: Collection[str],
    say: Callable[[Body, str, list[Problem]], tuple[str, str]],
    *places: str,
) -> Iterator[Hit]:
    """One hit for each object with such problems, at the first of ``places`` that is written there."""
    for body in bodies(fleet):
        for at, problems in _grouped(body, names):
            message, why = say(body, at, problems)
            written = [one.where for one in problems]
            candidates = [*(f"{at}.{name}" if at else name for name in places), *written]
            yield Hit(body.document, _first_written(body, candidates, at), message, why)


def _first_written(body: Body, candidates: list[str], at: str) -> KeyPath:
    for one in candidates:
        if (path := body.path(one)) in body.document.places:
            return path
    return body.path(at) if at else body.at


def _listed(problems: list[Problem]) -> str:
    return "; ".join(map(_said, problems))


def _said(problem: Problem) -> str:
    """`vswitch_ids is required: a list`: the checks speak of a field, so its name comes first."""
    verb = problem.message.startswith(("is ", "must ", "has ", "needs ", "belongs ", "overlaps "))
    return f"{_name(problem)}{'' if verb else ':'} {problem.message}"


@rule(
    "ACK001",
    "error",
    "A cluster asks for an edition that is none",
    why="CreateCluster refuses the body, or makes a Basic cluster without the control plane's SLA that a sale needs.",
    fix='"profile": "Default", "cluster_spec": "ack.pro.small"',
    source=_API,
    bad='{"profile": "Pro"}',
    good='{"profile": "Default", "cluster_spec": "ack.pro.small"}',
)
def edition(fleet: Fleet) -> Iterator[Hit]:
    for body in bodies(fleet):
        for at, problems in _grouped(body, _EDITION):
            path = _first_written(
                body, [f"{at}.{name}" if at else name for name in ("profile", "cluster_spec")], at
            )
            if body.value.get("profile") == "Pro":
                message = '"Pro" is no profile (Default, Edge, Serverless, Lingjun, Acs): Pro is cluster_spec ack.pro.small'
                yield Hit(body.document, path, message, edits=_pro(body, path))
            else:
                yield Hit(body.document, path, _listed(problems))


def _pro(body: Body, path: KeyPath) -> tuple[Edit, ...]:
    """The profile and the spec in JSON, where neither has another place yet."""
    line, column = body.document.place(path)
    lines = body.document.text.splitlines()
    if "cluster_spec" in body.value or not 1 <= line <= len(lines):
        return ()
    before, here = lines[line - 1][: column - 1], lines[line - 1][column - 1 :]
    if not here.startswith('"Pro"'):
        return ()
    indent = before[: len(before) - len(before.lstrip())]
    own_line = before.strip() == '"profile":'
    between = f",\n{indent}" if own_line else ", "
    text = f'"Default"{between}"cluster_spec": "ack.pro.small"'
    return (Edit(line, column, line, column + len('"Pro"'), text),)


@rule(
    "ACK002",
    "error",
    "A cluster's network add-on and its addresses do not go together",
    why="A cluster's network cannot be changed later: pods get addresses from the wrong place, or none, until it is made anew.",
    fix='"addons": [{"name": "terway-eniip"}], "pod_vswitch_ids": [one vSwitch a zone], and no container_cidr',
    source=_API,
    bad='{"container_cidr": "172.16.0.0/16"}',
    good='{"addons": [{"name": "terway-eniip"}], "pod_vswitch_ids": ["vsw-pods-a", "vsw-pods-b"]}',
)
def network(fleet: Fleet) -> Iterator[Hit]:
    def say(body: Body, at: str, problems: list[Problem]) -> tuple[str, str]:
        names = {_name(one) for one in problems}
        if {"addons", "container_cidr"} <= names and "addons" not in body.value:
            cidr = body.value.get("container_cidr")
            return (
                f"container_cidr {cidr} is Flannel's, no network add-on is named, and Terway's pod_vswitch_ids are missing",
                "At best this becomes a Flannel cluster: NetworkPolicy objects are never enforced there, ALB reaches pods only by"
                " way of node ports, and the network of a cluster cannot be changed later.",
            )
        return _listed(problems), ""

    return _hits(fleet, _NETWORK, say, "container_cidr", "addons", "pod_vswitch_ids")


@rule(
    "ACK003",
    "warning",
    "A cluster's body describes its workers",
    why="Such nodes belong to no node pool: nothing scales them, repairs them or mixes spot with on-demand.",
    fix="Leave them out; say nodepools[] in the body, or CreateClusterNodePool after it.",
    source=_API,
    bad='{"num_of_nodes": 3}',
    good='{"nodepools": [{"nodepool_info": {"name": "core"}, "scaling_group": {...}}]}',
)
def workers(fleet: Fleet) -> Iterator[Hit]:
    for body in bodies(fleet):
        found = [one for one in body.problems() if _is_worker_field(one)]
        if found:
            first = min(found, key=lambda one: body.document.place(body.path(one.where)))
            nodes = body.value.get("num_of_nodes")
            why = ""
            if isinstance(nodes, int):
                why = (
                    f"{nodes} nodes are made that belong to no node pool: before the sale they stay {nodes}, because nothing"
                    " scales them, repairs them or mixes spot with on-demand."
                )
            names = ", ".join(_name(one) for one in found)
            yield Hit(
                body.document,
                body.path(first.where),
                f"{names}: deprecated in favour of node pools",
                why,
            )


@rule(
    "ACK004",
    "error",
    "A request names no region",
    why="CreateCluster refuses the body; a script that goes on after it meets the sale without a cluster.",
    fix='"region_id": "ap-southeast-1"',
    source=_API,
    bad='{"name": "shop"}',
    good='{"name": "shop", "region_id": "ap-southeast-1"}',
)
def region(fleet: Fleet) -> Iterator[Hit]:
    def say(body: Body, at: str, problems: list[Problem]) -> tuple[str, str]:
        return "region_id is missing", ""

    return _hits(fleet, _REGION, say)


@rule(
    "ACK005",
    "error",
    "A spot pool's price limits do not cover its types",
    why="CreateClusterNodePool refuses the body: the pool has 0 nodes on sale day.",
    fix='"spot_price_limit": [{"instance_type": "ecs.c7.xlarge", "price_limit": "0.25"}, one entry a type]',
    source=_API,
    bad='{"instance_types": ["ecs.c7.xlarge"], "spot_price_limit": [{"instance_type": "ecs.g7.xlarge", "price_limit": "0.25"}]}',
    good='{"instance_types": ["ecs.c7.xlarge"], "spot_price_limit": [{"instance_type": "ecs.c7.xlarge", "price_limit": "0.25"}]}',
)
def price_limits(fleet: Fleet) -> Iterator[Hit]:
    for body in bodies(fleet):
        for problem in body.problems():
            # Limits that are missing altogether, and a missing share on demand, are said by the rules of spot pools (SPT),
            # which read Terraform as well.
            if "spot_price_limit" in problem.where and not problem.message.startswith(_SPT001):
                yield Hit(body.document, body.path(problem.where), _said(problem))


@rule(
    "ACK006",
    "error",
    "Nodes have nowhere to go",
    why="The service refuses the body: without a vSwitch there is no zone to make nodes in.",
    fix='"vswitch_ids": ["vsw-a", "vsw-b", "vsw-c"], one a zone',
    source=_API,
    bad='{"scaling_group": {"instance_types": ["ecs.c7.xlarge"]}}',
    good='{"scaling_group": {"instance_types": ["ecs.c7.xlarge"], "vswitch_ids": ["vsw-a", "vsw-b"]}}',
)
def placement(fleet: Fleet) -> Iterator[Hit]:
    def say(body: Body, at: str, problems: list[Problem]) -> tuple[str, str]:
        return _listed(problems), ""

    return _hits(fleet, _PLACE, say, "vswitch_ids", "vpcid")


@rule(
    "ACK007",
    "error",
    "A pool has no size",
    why="It starts with 0 nodes and nothing makes it grow: every pod meant for it stays Pending.",
    fix='"auto_scaling": {"enable": true, "min_instances": 3, "max_instances": 60}, or scaling_group.desired_size',
    source=_API,
    bad='{"scaling_group": {"instance_types": ["ecs.c7.xlarge"]}}',
    good='{"auto_scaling": {"enable": true, "min_instances": 3, "max_instances": 60}}',
)
def size(fleet: Fleet) -> Iterator[Hit]:
    def say(body: Body, at: str, problems: list[Problem]) -> tuple[str, str]:
        if "auto_scaling" not in body.value and problems[0].code == "missing":
            return "neither auto_scaling.enable nor desired_size is given: the pool has 0 nodes", ""
        return _listed(problems), ""

    return _hits(fleet, _SIZE, say)


@rule(
    "ACK008",
    "error",
    "A field that ACK refuses",
    why="The service answers the request with an error and makes nothing.",
    fix="Write the field as the API reference has it.",
    source=_API,
    bad='{"scaling_group": {"instance_charge_type": "Spot"}}',
    good='{"scaling_group": {"instance_charge_type": "PostPaid"}}',
)
def refused(fleet: Fleet) -> Iterator[Hit]:
    for body in bodies(fleet):
        for problem in body.problems():
            said = _name(problem) in _SOME_RULE or "spot_price_limit" in problem.where
            if not said and not _is_worker_field(problem):
                path = body.path(problem.where)
                yield Hit(body.document, path, _said(problem), key=problem.code == "unknown")
