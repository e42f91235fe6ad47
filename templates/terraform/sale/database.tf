# PolarDB: a primary with read nodes, who may call, the endpoint of the shop, its account and its database.

locals {
  database_count = contains(var.parts, "database") ? 1 : 0
}

resource "alicloud_polardb_cluster" "sale" {
  count = local.database_count

  description       = var.database.name
  db_type           = "MySQL"
  db_version        = var.database.version
  db_node_class     = var.database.node_class
  db_node_count     = var.database.nodes > 1 ? var.database.nodes : null
  db_node_num       = var.database.nodes > 1 ? null : 1
  creation_category = "Normal"
  proxy_type        = var.database.proxy_type
  pay_type          = "PostPaid"
  zone_id           = var.database.zone
  vpc_id            = alicloud_vpc.sale.id
  vswitch_id        = alicloud_vswitch.node[var.database.zone].id
  deletion_lock     = var.database.deletion_protection ? 1 : 0
  tags              = var.tags

  # A list of our own: the cluster's default list stays as it is.
  db_cluster_ip_array {
    db_cluster_ip_array_name = var.database.allow_name
    security_ips             = var.database.allow
  }
}

resource "alicloud_polardb_endpoint" "shop" {
  count = local.database_count

  db_cluster_id           = alicloud_polardb_cluster.sale[0].id
  endpoint_type           = "Custom"
  db_endpoint_description = var.database.endpoint_name
  read_write_mode         = "ReadWrite"
  auto_add_new_nodes      = "Enable"
  endpoint_config = {
    ConsistLevel = var.database.consistency
  }
}

resource "alicloud_polardb_account" "shop" {
  count = local.database_count

  db_cluster_id    = alicloud_polardb_cluster.sale[0].id
  account_name     = var.database.account
  account_password = var.database_password
  account_type     = "Normal"

  lifecycle {
    precondition {
      condition     = var.database_password != null
      error_message = "The database's account has no password: set TF_VAR_database_password."
    }
  }
}

resource "alicloud_polardb_database" "shop" {
  count = local.database_count

  db_cluster_id      = alicloud_polardb_cluster.sale[0].id
  db_name            = var.database.schema
  character_set_name = "utf8mb4"
}

resource "alicloud_polardb_account_privilege" "shop" {
  count = local.database_count

  db_cluster_id     = alicloud_polardb_cluster.sale[0].id
  account_name      = alicloud_polardb_account.shop[0].account_name
  account_privilege = "ReadWrite"
  db_names          = [alicloud_polardb_database.shop[0].db_name]
}
