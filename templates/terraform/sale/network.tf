# VPC, a node and a pod vSwitch in each zone, and the way out. Each vSwitch has a SNAT entry of its own: without one nothing
# in it reaches the internet, however many gateways and addresses there are. Nodes have no public addresses.

resource "alicloud_vpc" "sale" {
  vpc_name   = var.vpc.name
  cidr_block = var.vpc.cidr
  tags       = var.tags
}

resource "alicloud_vswitch" "node" {
  for_each = var.node_vswitches

  vpc_id       = alicloud_vpc.sale.id
  zone_id      = each.key
  cidr_block   = each.value.cidr
  vswitch_name = each.value.name
  tags         = var.tags
}

resource "alicloud_vswitch" "pod" {
  for_each = var.pod_vswitches

  vpc_id       = alicloud_vpc.sale.id
  zone_id      = each.key
  cidr_block   = each.value.cidr
  vswitch_name = each.value.name
  tags         = var.tags
}

resource "alicloud_nat_gateway" "sale" {
  vpc_id               = alicloud_vpc.sale.id
  vswitch_id           = alicloud_vswitch.node[var.egress.nat_zone].id
  nat_gateway_name     = var.egress.nat_name
  nat_type             = "Enhanced"
  network_type         = "internet"
  eip_bind_mode        = "MULTI_BINDED"
  payment_type         = "PayAsYouGo"
  internet_charge_type = "PayByLcu"
  tags                 = var.tags
}

resource "alicloud_eip_address" "nat" {
  address_name         = var.egress.eip_name
  bandwidth            = tostring(var.egress.bandwidth_mbps)
  internet_charge_type = var.egress.charge
  payment_type         = "PayAsYouGo"
  tags                 = var.tags
}

resource "alicloud_eip_association" "nat" {
  allocation_id = alicloud_eip_address.nat.id
  instance_id   = alicloud_nat_gateway.sale.id
  instance_type = "Nat"
}

resource "alicloud_snat_entry" "node" {
  for_each = var.node_vswitches

  snat_table_id     = alicloud_nat_gateway.sale.snat_table_ids
  source_vswitch_id = alicloud_vswitch.node[each.key].id
  snat_ip           = alicloud_eip_address.nat.ip_address
  snat_entry_name   = each.value.snat_name

  # An address may be named only once it is at the gateway.
  depends_on = [alicloud_eip_association.nat]
}

resource "alicloud_snat_entry" "pod" {
  for_each = var.pod_vswitches

  snat_table_id     = alicloud_nat_gateway.sale.snat_table_ids
  source_vswitch_id = alicloud_vswitch.pod[each.key].id
  snat_ip           = alicloud_eip_address.nat.ip_address
  snat_entry_name   = each.value.snat_name

  depends_on = [alicloud_eip_association.nat]
}

# An enterprise group keeps its members apart until a rule lets them in, so one rule names the whole VPC.
resource "alicloud_security_group" "nodes" {
  security_group_name = var.security_group.name
  security_group_type = "enterprise"
  description         = var.security_group.description
  vpc_id              = alicloud_vpc.sale.id
  tags                = var.tags
}

resource "alicloud_security_group_rule" "from_vpc" {
  security_group_id = alicloud_security_group.nodes.id
  type              = "ingress"
  ip_protocol       = "all"
  port_range        = "-1/-1"
  nic_type          = "intranet"
  policy            = "accept"
  priority          = 1
  cidr_ip           = var.security_group.from_cidr
  description       = var.security_group.rule_description
}
