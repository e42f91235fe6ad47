# Which Terraform (or OpenTofu) and which provider read this module. Credentials come from the environment:
# ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET, or a profile of the aliyun CLI. None is ever in a file here.

terraform {
  required_version = ">= 1.5.0"

  required_providers {
    alicloud = {
      source  = "aliyun/alicloud"
      version = ">= 1.247.0, < 2.0.0"
    }
  }
}

provider "alicloud" {
  region = var.region
}
