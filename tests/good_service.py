"""A service that is right for a sale, as manifests and Terraform: no rule finds anything in it. Tests break it line by line."""

from collections.abc import Mapping, Sequence

from saleops.domain.lint.findings import Finding
from saleops.domain.lint.fleet import Fleet, SaleFacts
from saleops.domain.lint.rules import RULES, Hit, Rule
from saleops.operations.lint.reading import Texts, parse_texts

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: order-service
  namespace: shop
spec:
  replicas: 12
  selector:
    matchLabels: {app: order-service}
  template:
    metadata:
      labels: {app: order-service}
      annotations:
        saleops.io/cold-start-seconds: "30"
    spec:
      terminationGracePeriodSeconds: 60
      readinessGates:
        - conditionType: target-health.alb.k8s.alibabacloud
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: topology.kubernetes.io/zone
          whenUnsatisfiable: DoNotSchedule
          labelSelector: {matchLabels: {app: order-service}}
        - maxSkew: 1
          topologyKey: node.alibabacloud.com/spot-strategy
          whenUnsatisfiable: ScheduleAnyway
          labelSelector: {matchLabels: {app: order-service}}
      tolerations:
        - key: saleops.io/spot
          operator: Exists
          effect: NoSchedule
      containers:
        - name: order
          image: registry.example.com/shop/order@sha256:0123456789abcdef
          imagePullPolicy: IfNotPresent
          ports:
            - name: http
              containerPort: 8080
          resources:
            requests: {cpu: 500m, memory: 512Mi}
            limits: {memory: 512Mi}
          env:
            - name: SESSION_STORE
              value: redis
          lifecycle:
            preStop:
              sleep:
                seconds: 20
          startupProbe:
            httpGet: {path: /livez, port: http}
            periodSeconds: 2
            timeoutSeconds: 2
            failureThreshold: 60
          livenessProbe:
            httpGet: {path: /livez, port: http}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          readinessProbe:
            httpGet: {path: /readyz, port: http}
            periodSeconds: 5
            timeoutSeconds: 2
            failureThreshold: 2
"""

SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: order-service, namespace: shop}
spec:
  selector: {app: order-service}
  ports:
    - {name: http, port: 8080, targetPort: http}
"""

INGRESS = """\
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: alb}
spec:
  controller: ingress.k8s.alibabacloud/alb
  parameters: {apiGroup: alibabacloud.com, kind: AlbConfig, name: sale-alb}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: order
  namespace: shop
  annotations:
    alb.ingress.kubernetes.io/listen-ports: '[{"HTTP":80},{"HTTPS":443}]'
    alb.ingress.kubernetes.io/ssl-redirect: "true"
    alb.ingress.kubernetes.io/healthcheck-enabled: "true"
    alb.ingress.kubernetes.io/healthcheck-path: /readyz
    alb.ingress.kubernetes.io/healthcheck-method: GET
    alb.ingress.kubernetes.io/slow-start-enabled: "true"
    alb.ingress.kubernetes.io/slow-start-duration: "30"
    alb.ingress.kubernetes.io/connection-drain-enabled: "true"
    alb.ingress.kubernetes.io/connection-drain-timeout: "30"
    alb.ingress.kubernetes.io/traffic-limit-qps: "20000"
    alb.ingress.kubernetes.io/traffic-limit-ip-qps: "50"
    alb.ingress.kubernetes.io/order: "5"
spec:
  ingressClassName: alb
  rules:
    - host: api.example.com
      http:
        paths:
          - path: /order
            pathType: Prefix
            backend: {service: {name: order-service, port: {number: 8080}}}
"""

ALB_CONFIG = """\
apiVersion: alibabacloud.com/v1
kind: AlbConfig
metadata: {name: sale-alb}
spec:
  config:
    name: sale-alb
    addressType: Internet
    zoneMappings: [{vSwitchId: vsw-zone-a}, {vSwitchId: vsw-zone-b}]
    deletionProtectionEnabled: true
    accessLogConfig: {logProject: sale-logs, logStore: alb_sale}
  listeners:
    - port: 80
      protocol: HTTP
      requestTimeout: 20
      xForwardedForConfig: {XForwardedForClientSourceIpsEnabled: true, XForwardedForClientSourceIpsTrusted: "203.0.113.0/24"}
    - port: 443
      protocol: HTTPS
      requestTimeout: 20
      certificates: [{CertificateId: 13905564-ap-southeast-1, IsDefault: true}]
      xForwardedForConfig: {XForwardedForClientSourceIpsEnabled: true, XForwardedForClientSourceIpsTrusted: "203.0.113.0/24"}
"""

BUDGET = """\
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: order-service, namespace: shop}
spec:
  maxUnavailable: 25%
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels: {app: order-service}
"""

POLICIES = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: default-deny, namespace: shop}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: order-service, namespace: shop}
spec:
  podSelector:
    matchLabels: {app: order-service}
  policyTypes: [Ingress, Egress]
  ingress:
    - from:
        - ipBlock: {cidr: 10.1.0.0/16}
      ports: [{protocol: TCP, port: 8080}]
  egress:
    - to:
        - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}
          podSelector: {matchLabels: {k8s-app: kube-dns}}
        - ipBlock: {cidr: 169.254.20.10/32}
      ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53}]
    - to:
        - ipBlock: {cidr: 10.9.0.0/24}
      ports: [{protocol: TCP, port: 3306}]
"""

HANDLER = """\
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: spot-handler, namespace: saleops}
spec:
  selector: {matchLabels: {app: spot-handler}}
  template:
    metadata: {labels: {app: spot-handler}}
    spec:
      serviceAccountName: spot-handler
      hostNetwork: true
      priorityClassName: system-node-critical
      tolerations:
        - operator: Exists
      containers:
        - name: handler
          image: registry.example.com/saleops@sha256:0123456789abcdef
          env:
            - {name: METADATA_URL, value: "http://100.100.100.200/latest"}
            - {name: METADATA_TOKEN_TTL_S, value: "21600"}
          resources:
            requests: {cpu: 20m, memory: 64Mi}
            limits: {memory: 64Mi}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: spot-handler}
rules:
  - {apiGroups: [""], resources: [nodes], verbs: [get, patch]}
  - {apiGroups: [""], resources: [pods/eviction], verbs: [create]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: spot-handler}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: spot-handler}
subjects:
  - {kind: ServiceAccount, name: spot-handler, namespace: saleops}
"""

POOLS = """\
resource "alicloud_cs_managed_kubernetes" "sale" {
  vswitch_ids     = ["vsw-1", "vsw-2", "vsw-3"]
  pod_vswitch_ids = ["vsw-4", "vsw-5", "vsw-6"]
  addons {
    name   = "terway-eniip"
    config = jsonencode({ NetworkPolicy = "true" })
  }
}

resource "alicloud_cs_kubernetes_node_pool" "core" {
  node_pool_name = "core"
  vswitch_ids    = ["vsw-1", "vsw-2", "vsw-3"]
  instance_types = ["ecs.c7.2xlarge"]
  scaling_config {
    min_size = 3
    max_size = 4
  }
}

resource "alicloud_cs_kubernetes_node_pool" "spot" {
  node_pool_name = "spot"
  vswitch_ids    = ["vsw-1", "vsw-2", "vsw-3"]
  instance_types = ["ecs.c7.2xlarge", "ecs.c8i.2xlarge", "ecs.g7.2xlarge"]
  spot_strategy  = "SpotAsPriceGo"
  on_demand_base_capacity                  = 2
  on_demand_percentage_above_base_capacity = 30
  taints {
    key    = "saleops.io/spot"
    value  = "true"
    effect = "NoSchedule"
  }
  scaling_config {
    min_size = 0
    max_size = 6
  }
}
"""

GOOD: Mapping[str, str] = {
    "deployment.yaml": DEPLOYMENT,
    "service.yaml": SERVICE,
    "ingress.yaml": INGRESS,
    "albconfig.yaml": ALB_CONFIG,
    "budget.yaml": BUDGET,
    "policies.yaml": POLICIES,
    "handler.yaml": HANDLER,
    "pools.tf": POOLS,
}

FAMILIES = ("ALB", "PRB", "PDB", "SPT", "NET", "RES", "STA")


def our_rules() -> list[Rule]:
    import saleops.domain.lint.rules_alb
    import saleops.domain.lint.rules_alb_config
    import saleops.domain.lint.rules_alb_limits
    import saleops.domain.lint.rules_alb_routes
    import saleops.domain.lint.rules_capacity
    import saleops.domain.lint.rules_drain
    import saleops.domain.lint.rules_network
    import saleops.domain.lint.rules_pdb
    import saleops.domain.lint.rules_probes_start
    import saleops.domain.lint.rules_spot
    import saleops.domain.lint.rules_spot_handler
    import saleops.domain.lint.rules_stateful  # noqa: F401

    return [one for id, one in RULES.items() if id.startswith(FAMILIES)]


def fleet_of(texts: Mapping[str, str], sale: SaleFacts | None = None) -> Fleet:
    parsed = parse_texts(Texts(dict(texts)))
    assert not parsed.troubles, parsed.troubles
    return Fleet(tuple(parsed.documents), sale=sale)


def findings_in(texts: Mapping[str, str], sale: SaleFacts | None = None) -> list[Finding]:
    fleet = fleet_of(texts, sale)
    found = [_finding(one, hit) for one in our_rules() for hit in one.check(fleet)]
    return sorted(found, key=lambda one: (one.file, one.line, one.id))


def broken(file: str, *changes: tuple[str, str]) -> dict[str, str]:
    """The good service with texts of one file replaced; each has to be there."""
    text = GOOD[file]
    for old, new in changes:
        assert old in text, f"{old!r} is not in {file}"
        text = text.replace(old, new)
    return {**GOOD, file: text}


def shown(findings: Sequence[Finding]) -> list[str]:
    return [f"{one.file}:{one.line} {one.severity} {one.id} {one.message}" for one in findings]


def _finding(rule: Rule, hit: Hit) -> Finding:
    line, column = hit.document.place(hit.path, key=hit.key)
    return Finding(
        rule.id,
        hit.severity or rule.severity,
        hit.document.file,
        line,
        column,
        hit.message,
        hit.why or rule.why,
        hit.fix or rule.fix,
        rule.source,
        hit.edits,
    )
