# Tair: what holds stock and pages. One shard is one core; more shards sell faster.

resource "alicloud_redis_tair_instance" "sale" {
  count = contains(var.parts, "cache") ? 1 : 0

  tair_instance_name     = var.cache.name
  instance_type          = "tair_rdb"
  instance_class         = var.cache.instance_class
  engine_version         = var.cache.version
  node_type              = "MASTER_SLAVE"
  shard_count            = var.cache.shards
  payment_type           = "PayAsYouGo"
  zone_id                = var.cache.zone
  secondary_zone_id      = var.cache.secondary_zone == "" ? null : var.cache.secondary_zone
  vpc_id                 = alicloud_vpc.sale.id
  vswitch_id             = alicloud_vswitch.node[var.cache.zone].id
  security_ip_group_name = var.cache.allow_name
  security_ips           = join(",", var.cache.allow)
  tags                   = var.tags
}
