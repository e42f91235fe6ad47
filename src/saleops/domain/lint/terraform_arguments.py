"""Arguments of the alicloud provider that are deprecated (a plan still runs) or removed (it does not), each with what to write.

Beside the shapes of ``domain/terraform_schema.py``, which cover the resources of our own modules. From the provider's
documentation, version 1.289 (read 2026-11).
"""

from collections.abc import Mapping

DEPRECATED: Mapping[str, Mapping[str, str]] = {
    "alicloud_vpc": {"name": "vpc_name"},
    "alicloud_vswitch": {"availability_zone": "zone_id", "name": "vswitch_name"},
    "alicloud_nat_gateway": {
        "name": "nat_gateway_name",
        "specification": "internet_charge_type = PayByLcu",
        "instance_charge_type": "payment_type",
    },
    "alicloud_eip_address": {"name": "address_name", "instance_charge_type": "payment_type"},
    "alicloud_cs_managed_kubernetes": {
        "worker_vswitch_ids": "vswitch_ids",
        "load_balancer_spec": "nothing: it has no effect any more",
    },
    "alicloud_cs_kubernetes_node_pool": {
        "name": "node_pool_name",
        "node_count": "desired_size",
        "platform": "image_type",
        "security_group_id": "security_group_ids",
        "rollout_policy": "rolling_policy",
    },
    "alicloud_polardb_cluster": {"security_ips": "db_cluster_ip_array"},
    "alicloud_kvstore_instance": {
        "instance_name": "db_instance_name",
        "availability_zone": "zone_id",
        "instance_charge_type": "payment_type",
        "parameters": "config",
    },
    "alicloud_alb_load_balancer": {"deletion_protection_enabled": "deletion_protection_config"},
}
REMOVED: Mapping[str, Mapping[str, str]] = {
    "alicloud_nat_gateway": {
        "spec": "internet_charge_type = PayByLcu",
        "bandwidth_packages": "alicloud_eip_association",
    },
    "alicloud_cs_managed_kubernetes": dict.fromkeys(
        (
            "worker_instance_types",
            "worker_number",
            "worker_disk_category",
            "worker_disk_size",
            "worker_instance_charge_type",
            "password",
            "key_name",
            "runtime",
        ),
        "alicloud_cs_kubernetes_node_pool, which holds the nodes since 1.212",
    ),
}
DELETION: Mapping[str, tuple[str, str]] = {
    "alicloud_polardb_cluster": ("deletion_lock", "deletion_lock = 1"),
    "alicloud_cs_managed_kubernetes": ("deletion_protection", "deletion_protection = true"),
    "alicloud_kvstore_instance": (
        "instance_release_protection",
        "instance_release_protection = true",
    ),
}
"""What keeps a slip from deleting it; all are off where nobody sets them."""
