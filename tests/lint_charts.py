"""Manifests in the shapes that well-known charts render, made up here: a seed, and the same texts come out again."""

import random
from collections.abc import Callable

import yaml

_NAMES = ("api", "web", "worker", "cart", "gateway", "search", "ledger", "mailer", "agent", "proxy")
_PORTS = (80, 443, 3000, 5432, 6379, 8080, 8443, 9090, 15672)


def _labels(rng: random.Random, name: str) -> dict[str, str]:
    labels = {"app.kubernetes.io/name": name, "app.kubernetes.io/instance": "release"}
    if rng.random() < 0.5:
        labels["helm.sh/chart"] = f"{name}-{rng.randint(0, 20)}.{rng.randint(0, 9)}.0"
    if rng.random() < 0.3:
        labels["app"] = name
    return labels


def _probe(rng: random.Random) -> dict[str, object]:
    handler: dict[str, object] = rng.choice(
        (
            {"httpGet": {"path": "/healthz", "port": "http"}},
            {"tcpSocket": {"port": rng.choice(_PORTS)}},
            {"exec": {"command": ["sh", "-c", "redis-cli ping | grep PONG"]}},
            {"grpc": {"port": 9000}},
        )
    )
    probe = dict(handler)
    for field in ("initialDelaySeconds", "periodSeconds", "timeoutSeconds", "failureThreshold"):
        if rng.random() < 0.6:
            probe[field] = rng.randint(1, 60)
    return probe


def _container(rng: random.Random, name: str) -> dict[str, object]:
    container: dict[str, object] = {
        "name": name,
        "image": f"registry.example/{name}:{rng.choice(('1.2.3', 'latest', '2025-01-01'))}",
        "imagePullPolicy": rng.choice(("Always", "IfNotPresent")),
        "ports": [{"name": "http", "containerPort": rng.choice(_PORTS), "protocol": "TCP"}],
        "resources": rng.choice(
            ({}, {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}})
        ),
        "securityContext": {"runAsNonRoot": True, "capabilities": {"drop": ["ALL"]}},
        "env": [
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "MODE", "value": rng.choice(("on", "off", "1", "true"))},
        ],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    for kind in ("livenessProbe", "readinessProbe", "startupProbe"):
        if rng.random() < 0.7:
            container[kind] = _probe(rng)
    if rng.random() < 0.2:
        container["lifecycle"] = {"preStop": {"exec": {"command": ["sh", "-c", "sleep 5"]}}}
    return container


def _pod_template(rng: random.Random, name: str) -> dict[str, object]:
    spec: dict[str, object] = {
        "serviceAccountName": name,
        "containers": [_container(rng, one) for one in [name, "sidecar"][: rng.randint(1, 2)]],
        "volumes": [
            {"name": "data", **rng.choice(({"emptyDir": {}}, {"configMap": {"name": "x"}}))}
        ],
        "tolerations": rng.choice(
            ([], [{"operator": "Exists"}], [{"key": "spot", "value": "true"}])
        ),
        "affinity": {
            "podAntiAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "weight": 1,
                        "podAffinityTerm": {
                            "topologyKey": "kubernetes.io/hostname",
                            "labelSelector": {"matchLabels": _labels(rng, name)},
                        },
                    }
                ]
            }
        },
    }
    if rng.random() < 0.3:
        spec["terminationGracePeriodSeconds"] = rng.choice((0, 30, 600))
    if rng.random() < 0.3:
        spec["initContainers"] = [_container(rng, "init")]
    return {
        "metadata": {"labels": _labels(rng, name), "annotations": {"checksum": "a" * 64}},
        "spec": spec,
    }


def _object(version: str, kind: str, name: str, **rest: object) -> dict[str, object]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **rest}


def _workload(rng: random.Random, name: str) -> dict[str, object]:
    kind = rng.choice(("Deployment", "StatefulSet", "DaemonSet"))
    spec: dict[str, object] = {
        "selector": {"matchLabels": _labels(rng, name)},
        "template": _pod_template(rng, name),
    }
    if kind != "DaemonSet":
        spec["replicas"] = rng.randint(0, 20)
    if kind == "StatefulSet":
        spec["serviceName"] = f"{name}-headless"
        spec["volumeClaimTemplates"] = [
            {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
        ]
    return _object("apps/v1", kind, name, spec=spec)


def _job(rng: random.Random, name: str) -> dict[str, object]:
    template = _pod_template(rng, name)
    return _object(
        "batch/v1",
        "CronJob",
        name,
        spec={"schedule": "*/5 * * * *", "jobTemplate": {"spec": {"template": template}}},
    )


def _service(rng: random.Random, name: str) -> dict[str, object]:
    return _object(
        "v1",
        "Service",
        name,
        spec={
            "type": rng.choice(("ClusterIP", "NodePort", "LoadBalancer")),
            "selector": _labels(rng, name),
            "ports": [{"name": "http", "port": rng.choice(_PORTS), "targetPort": "http"}],
        },
    )


def _ingress(rng: random.Random, name: str) -> dict[str, object]:
    backend = {"service": {"name": name, "port": {"name": "http"}}}
    kind = rng.choice(("Prefix", "Exact", "ImplementationSpecific"))
    made = _object(
        "networking.k8s.io/v1",
        "Ingress",
        name,
        spec={
            "ingressClassName": rng.choice(("nginx", "alb")),
            "tls": [{"hosts": [f"{name}.example"], "secretName": f"{name}-tls"}],
            "rules": [
                {
                    "host": f"{name}.example",
                    "http": {"paths": [{"path": "/", "pathType": kind, "backend": backend}]},
                }
            ],
        },
    )
    made["metadata"] = {
        "name": name,
        "annotations": rng.choice(
            (
                {"nginx.ingress.kubernetes.io/proxy-body-size": "8m"},
                {"alb.ingress.kubernetes.io/healthcheck-enabled": "true"},
            )
        ),
    }
    return made


def _autoscaler(rng: random.Random, name: str) -> dict[str, object]:
    return _object(
        "autoscaling/v2",
        "HorizontalPodAutoscaler",
        name,
        spec={
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": rng.randint(1, 3),
            "maxReplicas": rng.randint(3, 50),
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {
                        "name": "cpu",
                        "target": {"type": "Utilization", "averageUtilization": 80},
                    },
                }
            ],
        },
    )


def _budget(rng: random.Random, name: str) -> dict[str, object]:
    return _object(
        "policy/v1",
        "PodDisruptionBudget",
        name,
        spec={
            "selector": {"matchLabels": _labels(rng, name)},
            **rng.choice(({"minAvailable": 1}, {"maxUnavailable": "25%"}, {"maxUnavailable": 0})),
        },
    )


def _policy(rng: random.Random, name: str) -> dict[str, object]:
    return _object(
        "networking.k8s.io/v1",
        "NetworkPolicy",
        name,
        spec={
            "podSelector": {"matchLabels": _labels(rng, name)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [{"podSelector": {}}], "ports": [{"port": 8080}]}],
            "egress": rng.choice(([], [{}], [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}])),
        },
    )


def _config(rng: random.Random, name: str) -> dict[str, object]:
    text = "server {\n  listen 80;\n}\n# {{ $labels.instance }} is a label of Prometheus\n"
    return _object("v1", "ConfigMap", name, data={"nginx.conf": text, "on": "yes", "n": "0755"})


def _role(rng: random.Random, name: str) -> dict[str, object]:
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}]
    return _object("rbac.authorization.k8s.io/v1", "ClusterRole", name, rules=rules)


def _definition(rng: random.Random, name: str) -> dict[str, object]:
    schema: dict[str, object] = {"type": "string"}
    for depth in range(rng.randint(3, 12)):
        schema = {"type": "object", "properties": {f"level{depth}": schema}}
    return _object(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        f"{name}s.example.com",
        spec={"versions": [{"name": "v1", "schema": {"openAPIV3Schema": schema}}]},
    )


_SHAPES: tuple[Callable[[random.Random, str], dict[str, object]], ...] = (
    *(_workload, _workload, _job, _service, _ingress, _autoscaler),
    *(_budget, _policy, _config, _role, _definition),
)


def manifests(count: int, *, seed: int = 0) -> list[str]:
    """``count`` objects, each as the text that helm would print of it."""
    rng = random.Random(seed)
    texts = []
    for number in range(count):
        name = rng.choice(_NAMES)
        made = rng.choice(_SHAPES)(rng, name)
        text = yaml.dump(made, Dumper=yaml.CSafeDumper, sort_keys=False)
        texts.append(f"---\n# Source: {name}/templates/object-{number}.yaml\n{text}")
    return texts
