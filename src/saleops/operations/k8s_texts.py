"""The files of `saleops render k8s` as texts: the templates of templates/k8s, filled from one value."""

import json
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from saleops.domain.k8s import ingress, lifecycle, manifests, network, workloads
from saleops.domain.k8s.manifests import Manifests
from saleops.errors import ConfigError
from saleops.resources import read_template

if TYPE_CHECKING:
    from saleops.config.sale import Sale

_PLAIN = re.compile(r"[a-z][a-z0-9-]*")
_WORDS = frozenset(("true", "false", "null", "yes", "no", "on", "off", "y", "n"))
_HEADER = "# Written by saleops render k8s; what you change here is lost with --force."


def texts_of(planned: Manifests, sale: "Sale") -> dict[str, str]:
    """Every file by its name below the folder, the same for the same two files."""
    render = _renderer(planned, sale)
    applied = {"namespaces.yaml": render("namespaces.yaml")}
    applied["network-policies.yaml"] = render("network-policies.yaml")
    if planned.proxy:
        applied["proxysql.yaml"] = render("proxysql.yaml")
    for app in planned.apps:
        applied[f"services/{app.name}.yaml"] = render("service.yaml", app=app)
    applied["monitoring.yaml"] = render("monitoring.yaml")
    applied["prepull.yaml"] = render("prepull.yaml", images=_images(planned))
    applied["headroom.yaml"] = render("headroom.yaml")
    if planned.spot:
        applied["spot-handler.yaml"] = render("spot-handler.yaml")
    beside: dict[str, str] = {}
    if len(planned.settings.zones) > 1:
        where = applied if planned.balancer.complete else beside
        where["load-balancer.yaml"] = render("load-balancer.yaml")
    return {
        "README.md": render("README.md"),
        "kustomization.yaml": render("kustomization.yaml", files=list(applied)),
        **applied,
        **beside,
        "secret.example.yaml": render("secret.example.yaml"),
        "after-the-sale/kustomization.yaml": render(
            "kustomization.yaml", files=["autoscalers.yaml"]
        ),
        "after-the-sale/autoscalers.yaml": render("after.yaml"),
        "image/Dockerfile": render("Dockerfile"),
        "image/Dockerfile.dockerignore": render("dockerignore"),
    }


def _images(planned: Manifests) -> list[tuple[str, str, list[str]]]:
    """What every node pulls early: name, image, and a command of it that ends at once."""
    pulled = [("services", planned.settings.image, ["python", "-c", "pass"])]
    if planned.proxy:
        pulled.append(("proxysql", planned.settings.proxysql_image, ["proxysql", "--version"]))
    return pulled


def _renderer(planned: Manifests, sale: "Sale") -> Any:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    # What is rendered is YAML for kubectl, not HTML: nothing to escape.
    environment = Environment(  # noqa: S701
        loader=FunctionLoader(lambda name: read_template(f"k8s/{name}")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["q"] = _quoted
    environment.filters["y"] = _scalar
    environment.globals.update(
        m=planned,
        header=_HEADER,
        version=planned.settings.version,
        http_port=lifecycle.HTTP_PORT,
        admin_port=lifecycle.ADMIN_PORT,
        proxy_port=network.PROXY_PORT,
        proxy_metrics_port=network.PROXY_METRICS_PORT,
        database_port=network.DATABASE_PORT,
        node_local_dns=network.NODE_LOCAL_DNS,
        cpu_target=workloads.CPU_TARGET,
        checkout_priority=manifests.CHECKOUT_PRIORITY,
        pods_priority=manifests.PODS_PRIORITY,
        headroom_priority=manifests.HEADROOM_PRIORITY,
        parallelism=manifests.PREPULL_PARALLELISM,
        request_timeout_s=ingress.REQUEST_TIMEOUT_S,
        health_interval_s=ingress.HEALTH_INTERVAL_S,
        health_timeout_s=ingress.HEALTH_TIMEOUT_S,
        health_threshold=ingress.HEALTH_THRESHOLD,
        slow_start_s=ingress.SLOW_START_S,
        opens=_at(planned, planned.settings.opens),
        closes=_at(planned, planned.settings.closes),
        service_settings=_settings_json(planned, sale, gateway=False),
        gateway_settings=_settings_json(planned, sale, gateway=True)
        if any(app.name == "gateway" for app in planned.apps)
        else "",
    )

    def render(name: str, **given: Any) -> str:
        return environment.get_template(f"{name}.j2").render(**given).lstrip("\n")

    return render


def _at(planned: Manifests, moment: datetime) -> str:
    """On the clock of the cluster, as the schedules are."""
    zone = planned.settings.clock_zone
    return f"{moment.astimezone(zone_named(zone)):%Y-%m-%d %H:%M:%S} {zone}"


def _quoted(value: object) -> str:
    """A YAML scalar in double quotes: JSON's are YAML's."""
    return json.dumps(str(value), ensure_ascii=False)


def _scalar(value: object) -> str:
    """A text as YAML reads a text: a sale may be called 2026 or true."""
    text = str(value)
    return text if _PLAIN.fullmatch(text) and text not in _WORDS else _quoted(text)


def _settings_json(planned: Manifests, sale: "Sale", *, gateway: bool) -> str:
    """SALEOPS_SERVICE_SETTINGS as it has to be, with REPLACE where a secret or an address belongs."""
    import msgspec

    from saleops.config.settings import JwtSettings
    from saleops.operations.serve import settings_of
    from saleops.ports.engines import EngineUrls

    database = (
        f"proxysql.{planned.namespace}:{network.PROXY_PORT}"
        if planned.proxy
        else f"pc-REPLACE.mysql.polardb.rds.aliyuncs.com:{network.DATABASE_PORT}"
    )
    urls = EngineUrls(
        redis_url=f"redis+cluster://:REPLACE@r-REPLACE.redis.rds.aliyuncs.com:{network.CACHE_PORT}",
        database_url=f"mysql://saleops:REPLACE@{database}/saleops",
        broker_url=f"rocketmq://REPLACE:REPLACE@rmq-REPLACE.rmq.aliyuncs.com:{network.QUEUE_PORT}",
        embedded=False,
    )
    settings = settings_of(sale, urls, JwtSettings(issuer="REPLACE", jwks="/etc/saleops/jwks.json"))
    if gateway:
        settings = msgspec.structs.replace(
            settings,
            redis_url="",
            database_url="",
            broker_url="",
            jwt=JwtSettings(),
            upstreams={
                app.name: f"http://{app.name}.{planned.namespace}"
                for app in planned.apps
                if app.name != "gateway"
            },
        )
    document = msgspec.to_builtins(settings)
    document.pop("faults")
    return json.dumps(document, indent=2, ensure_ascii=False)


def zone_named(name: str) -> ZoneInfo:
    """The clock that schedules are written for. Raises ConfigError."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ConfigError(
            f"cluster.timezone: {name} is no time zone; nothing was written",
            hint="Write one as in Asia/Shanghai; schedules are written in it.",
        ) from error
