"""What the alicloud provider takes for the resources of a sale: arguments, required ones, ones that are gone, allowed values.

Facts of provider 1.247 and later (read November 2026), in a form of our own. A line of ``_TABLE`` is a resource or, indented, a
block of the one above it, followed by its arguments::

    name!         required           name-         deprecated or removed: never write it
    name=A|B      one of these       block{}       a block, described on a line of its own

``SCHEMAS`` is what the checker reads (domain/terraform.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

META_ARGUMENTS = frozenset({"count", "for_each", "depends_on", "provider"})
META_BLOCKS = frozenset({"lifecycle", "timeouts", "connection", "provisioner"})


@dataclass(frozen=True, slots=True)
class Shape:
    """What may stand in a resource or a block."""

    arguments: frozenset[str]
    required: frozenset[str]
    gone: frozenset[str]
    values: Mapping[str, tuple[str, ...]]
    blocks: Mapping[str, "Shape"] = field(default_factory=dict)


_TABLE = """
alicloud_vpc: cidr_block vpc_name description resource_group_id tags user_cidrs enable_ipv6=true|false dry_run=true|false
  name- secondary_cidr_blocks-
alicloud_vswitch: vpc_id! cidr_block! zone_id! vswitch_name description tags availability_zone- name-
alicloud_nat_gateway: vpc_id! vswitch_id! nat_gateway_name description nat_type=Enhanced payment_type=PayAsYouGo|Subscription
  internet_charge_type=PayByLcu network_type=internet|intranet eip_bind_mode availability_mode period
  deletion_protection=true|false tags specification- spec- name- instance_charge_type- bandwidth_packages-
alicloud_eip_address: address_name bandwidth description deletion_protection=true|false isp payment_type=PayAsYouGo|Subscription
  internet_charge_type=PayByTraffic|PayByBandwidth|PayByDominantTraffic netmode=public period resource_group_id tags auto_pay
  activity_id security_protection_types public_ip_address_pool_id high_definition_monitor_log_status=ON|OFF log_project
  log_store name- instance_charge_type-
alicloud_eip_association: allocation_id! instance_id! instance_type=EcsInstance|SlbInstance|Nat|NetworkInterface|HaVip
  private_ip_address force=true|false
alicloud_snat_entry: snat_table_id! snat_ip! source_vswitch_id source_cidr snat_entry_name
alicloud_security_group: security_group_name security_group_type=normal|enterprise description vpc_id tags resource_group_id
  inner_access_policy=Accept|Drop name- inner_access-
alicloud_security_group_rule: type!=ingress|egress ip_protocol!=tcp|udp|icmp|gre|all security_group_id! port_range
  nic_type=internet|intranet policy=accept|drop priority cidr_ip ipv6_cidr_ip source_security_group_id
  source_group_owner_account prefix_list_id description
alicloud_polardb_cluster: db_type!=MySQL|Oracle|PostgreSQL db_version! db_node_class! db_node_count db_node_num db_minor_version
  pay_type=PostPaid|PrePaid zone_id vpc_id vswitch_id description tags security_group_ids maintain_time resource_group_id
  modify_type=Upgrade|Downgrade renewal_status=AutoRenewal|Normal|NotRenewal auto_renew_period period
  collector_status=Enable|Disabled tde_status=Enabled|Disabled encrypt_new_tables=ON|OFF encryption_key role_arn
  deletion_lock=0|1 backup_retention_policy_on_cluster_deletion=ALL|LATEST|NONE imci_switch=ON|OFF
  sub_category=Exclusive|General creation_option creation_category=Normal|Basic|ArchiveNormal|NormalMultimaster|SENormal
  source_resource_id gdn_id clone_data_point storage_type storage_space storage_pay_type=Postpaid|Prepaid provisioned_iops
  hot_standby_cluster=ON|OFF|EQUAL standby_az strict_consistency=ON|OFF serverless_type=AgileServerless|SteadyServerless
  serverless_steady_switch=ON|OFF scale_min scale_max scale_ro_num_min scale_ro_num_max scale_ap_ro_num_min
  scale_ap_ro_num_max allow_shut_down seconds_until_auto_pause upgrade_type=PROXY|DB|ALL from_time_service planned_start_time
  planned_end_time proxy_type=EXCLUSIVE|GENERAL proxy_class loose_polar_log_bin=ON|OFF loose_xengine=ON|OFF
  loose_xengine_use_memory_pct parameter_group_id lower_case_table_names=0|1 default_time_zone db_node_id
  hot_replica_mode=ON|OFF target_db_revision_version_code compress_storage=ON db_cluster_ip_array{} parameters{} security_ips-
alicloud_polardb_cluster.db_cluster_ip_array: db_cluster_ip_array_name security_ips modify_mode=Cover|Append|Delete
alicloud_polardb_cluster.parameters: name! value!
alicloud_polardb_endpoint: db_cluster_id! endpoint_type=Custom|Cluster|Primary read_write_mode=ReadWrite|ReadOnly nodes
  auto_add_new_nodes=Enable|Disable endpoint_config ssl_enabled=Disable|Enable|Update net_type ssl_auto_rotate=Enable|Disable
  db_endpoint_description connection_prefix port
alicloud_polardb_account: db_cluster_id! account_name! account_password! kms_encrypted_password kms_encryption_context
  account_description account_type=Normal|Super
alicloud_polardb_database: db_cluster_id! db_name! character_set_name db_description account_name collate ctype
alicloud_polardb_account_privilege: db_cluster_id! account_name! db_names!
  account_privilege=ReadOnly|ReadWrite|DMLOnly|DDLOnly
alicloud_redis_tair_instance: instance_class! instance_type!=tair_rdb|tair_scm|tair_essd vpc_id! vswitch_id! zone_id!
  secondary_zone_id tair_instance_name engine_version shard_count node_type=MASTER_SLAVE|STAND_ALONE|double|single
  payment_type=PayAsYouGo|Subscription period port password tags resource_group_id security_group_id security_ips
  security_ip_group_name modify_mode=Cover|Append|Delete read_only_count slave_read_only_count auto_renew auto_renew_period
  effective_time=Immediately|MaintainTime force_upgrade backup_id cluster_backup_id src_db_instance_id global_instance_id
  connection_string_prefix intranet_bandwidth param_no_loose_sentinel_enabled=yes|no
  param_no_loose_sentinel_password_free_access=yes|no param_repl_mode=async|semisync param_semisync_repl_timeout
  param_sentinel_compat_enable=0|1 recover_config_mode ssl_enabled=Disable|Enable|Update
  storage_performance_level=PL1|PL2|PL3 storage_size_gb vpc_auth_mode=Open|Close
alicloud_rocketmq_instance: service_code!=rmq payment_type!=PayAsYouGo|Subscription
  series_code!=standard|professional|ultimate sub_series_code!=cluster_ha|single_node|serverless instance_name remark tags
  ip_whitelists auto_renew auto_renew_period auto_renew_period_unit=Month|Year period period_unit=Month|Year commodity_code
  resource_group_id network_info!{} product_info{} software{} acl_info{}
alicloud_rocketmq_instance.network_info: vpc_info!{} internet_info!{}
alicloud_rocketmq_instance.network_info.vpc_info: vpc_id! vswitches{} security_group_ids vswitch_id-
alicloud_rocketmq_instance.network_info.vpc_info.vswitches: vswitch_id
alicloud_rocketmq_instance.network_info.internet_info: internet_spec!=enable|disable
  flow_out_type!=payByBandwidth|uninvolved flow_out_bandwidth ip_whitelist-
alicloud_rocketmq_instance.product_info: msg_process_spec! send_receive_ratio auto_scaling message_retention_time
  storage_encryption storage_secret_key trace_on
alicloud_rocketmq_instance.software: maintain_time
alicloud_rocketmq_instance.acl_info: acl_types default_vpc_auth_free
alicloud_rocketmq_topic: instance_id! topic_name! message_type=NORMAL|FIFO|DELAY|TRANSACTION max_send_tps remark
alicloud_rocketmq_consumer_group: instance_id! consumer_group_id! delivery_order_type max_receive_tps remark
  consume_retry_policy!{}
alicloud_rocketmq_consumer_group.consume_retry_policy: retry_policy max_retry_times dead_letter_target_topic
"""


def _rows() -> dict[str, list[str]]:
    rows: dict[str, list[str]] = {}
    name = ""
    for line in _TABLE.strip().splitlines():
        if not line.startswith(" "):
            name, _, line = line.partition(":")
        rows.setdefault(name, []).extend(line.split())
    return rows


def _shape(name: str, rows: Mapping[str, list[str]]) -> Shape:
    arguments, required, gone = set(), set(), set()
    values: dict[str, tuple[str, ...]] = {}
    blocks: dict[str, Shape] = {}
    for word in rows[name]:
        bare, _, allowed = word.partition("=")
        is_block = bare.endswith("{}")
        bare = bare.removesuffix("{}")
        if bare.endswith("!"):
            required.add(bare[:-1])
        if bare.endswith("-"):
            gone.add(bare[:-1])
            continue
        bare = bare.removesuffix("!")
        if is_block:
            blocks[bare] = _shape(f"{name}.{bare}", rows)
            continue
        arguments.add(bare)
        if allowed:
            values[bare] = tuple(allowed.split("|"))
    return Shape(frozenset(arguments), frozenset(required), frozenset(gone), values, blocks)


def _schemas() -> dict[str, Shape]:
    rows = _rows()
    return {name: _shape(name, rows) for name in rows if "." not in name}


SCHEMAS: Mapping[str, Shape] = _schemas()
"""By resource type. A type that is not here is one that no sale of ours has; nothing is said about it."""
