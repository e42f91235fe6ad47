"""A local Alibaba Cloud: the APIs that saleops calls, with state, time, quotas and faults, on loopback."""
