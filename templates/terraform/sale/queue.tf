# RocketMQ 5: the instance, a topic for each kind of message, and the groups that read them. A group's dead letters go to a
# topic of their own, which is there before the group.

locals {
  queue_count = contains(var.parts, "queue") ? 1 : 0
}

resource "alicloud_rocketmq_instance" "sale" {
  count = local.queue_count

  instance_name   = var.queue.name
  service_code    = "rmq"
  series_code     = var.queue.series
  sub_series_code = var.queue.sub_series
  payment_type    = "PayAsYouGo"
  tags            = var.tags

  network_info {
    vpc_info {
      vpc_id = alicloud_vpc.sale.id

      dynamic "vswitches" {
        for_each = var.queue.zones

        content {
          vswitch_id = alicloud_vswitch.node[vswitches.value].id
        }
      }
    }

    internet_info {
      internet_spec = "disable"
      flow_out_type = "uninvolved"
    }
  }

  product_info {
    msg_process_spec       = var.queue.spec
    message_retention_time = var.queue.retention_h
  }
}

resource "alicloud_rocketmq_topic" "sale" {
  for_each = local.queue_count == 1 ? var.queue.topics : {}

  instance_id  = alicloud_rocketmq_instance.sale[0].id
  topic_name   = each.key
  message_type = each.value
  remark       = var.queue.remark
}

resource "alicloud_rocketmq_consumer_group" "sale" {
  for_each = local.queue_count == 1 ? var.queue.groups : {}

  instance_id         = alicloud_rocketmq_instance.sale[0].id
  consumer_group_id   = each.key
  delivery_order_type = "Concurrently"
  remark              = var.queue.remark

  consume_retry_policy {
    retry_policy             = "DefaultRetryPolicy"
    max_retry_times          = var.queue.attempts
    dead_letter_target_topic = alicloud_rocketmq_topic.sale[each.value].topic_name
  }
}
