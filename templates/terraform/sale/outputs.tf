# What comes after the network needs to know: the cluster's vSwitches and security group, and where the engines answer.

output "vpc_id" {
  value = alicloud_vpc.sale.id
}

output "node_vswitch_ids" {
  value = { for zone, one in alicloud_vswitch.node : zone => one.id }
}

output "pod_vswitch_ids" {
  value = { for zone, one in alicloud_vswitch.pod : zone => one.id }
}

output "security_group_id" {
  value = alicloud_security_group.nodes.id
}

output "nat_gateway_id" {
  value = alicloud_nat_gateway.sale.id
}

output "egress_address" {
  value = alicloud_eip_address.nat.ip_address
}

output "database_id" {
  value = one(alicloud_polardb_cluster.sale[*].id)
}

output "database_endpoint_id" {
  value = one(alicloud_polardb_endpoint.shop[*].db_endpoint_id)
}

output "cache_id" {
  value = one(alicloud_redis_tair_instance.sale[*].id)
}

output "cache_address" {
  value = one(alicloud_redis_tair_instance.sale[*].connection_domain)
}

output "queue_id" {
  value = one(alicloud_rocketmq_instance.sale[*].id)
}
