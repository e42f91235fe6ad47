# Everything that differs from sale to sale. terraform.tfvars.json gives all of it but the password.

variable "region" {
  type        = string
  description = "Where the sale is."
}

variable "parts" {
  type        = set(string)
  description = "What is built. Without a part nothing of it is made; taking one out takes it away."
  default     = ["network", "database", "cache", "queue"]

  validation {
    condition     = contains(var.parts, "network")
    error_message = "The network is part of everything: name \"network\" in parts."
  }

  validation {
    condition     = length(setsubtract(var.parts, ["network", "database", "cache", "queue"])) == 0
    error_message = "The parts are network, database, cache and queue."
  }
}

variable "tags" {
  type        = map(string)
  description = "On everything that takes tags; saleops finds a sale's resources by name and tag."
}

variable "vpc" {
  type = object({
    name = string
    cidr = string
  })
  description = "The VPC."
}

variable "node_vswitches" {
  type = map(object({
    name      = string
    cidr      = string
    snat_name = string
  }))
  description = "The vSwitch of the nodes in each zone, by zone."
}

variable "pod_vswitches" {
  type = map(object({
    name      = string
    cidr      = string
    snat_name = string
  }))
  description = "The vSwitch of the pods in each zone, by zone. With Terway every pod takes an address of it."
}

variable "egress" {
  type = object({
    nat_name       = string
    nat_zone       = string
    eip_name       = string
    bandwidth_mbps = number
    charge         = string
  })
  description = "The way out: a NAT gateway in one zone, and the address that everybody goes out by."

  validation {
    condition     = contains(["PayByTraffic", "PayByBandwidth"], var.egress.charge)
    error_message = "An EIP is paid PayByTraffic or PayByBandwidth."
  }
}

variable "security_group" {
  type = object({
    name             = string
    description      = string
    from_cidr        = string
    rule_description = string
  })
  description = "Who may talk to nodes and pods: the VPC, and nobody else."
}

variable "database" {
  type = object({
    name                = string
    node_class          = string
    nodes               = number
    version             = string
    proxy_type          = string
    zone                = string
    deletion_protection = bool
    allow_name          = string
    allow               = list(string)
    endpoint_name       = string
    consistency         = string
    account             = string
    schema              = string
  })
  description = "PolarDB: the nodes are counted with the primary."
}

variable "database_password" {
  type        = string
  description = "Of the account of the shop. Give it as TF_VAR_database_password; it ends up in the state, so keep that safe."
  default     = null
  sensitive   = true
}

variable "cache" {
  type = object({
    name           = string
    instance_class = string
    shards         = number
    version        = string
    zone           = string
    secondary_zone = string
    allow_name     = string
    allow          = list(string)
  })
  description = "Tair. secondary_zone is empty where there is one zone."
}

variable "queue" {
  type = object({
    name        = string
    series      = string
    sub_series  = string
    spec        = string
    retention_h = number
    zones       = list(string)
    topics      = map(string)
    groups      = map(string)
    attempts    = number
    remark      = string
  })
  description = "RocketMQ 5: topics with their types, consumer groups with the topics of their dead letters."
}
