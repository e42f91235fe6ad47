"""The gateway: the one public port."""
