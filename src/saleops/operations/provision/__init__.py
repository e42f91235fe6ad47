"""Provision: make, compare and remove what a sale needs of Alibaba Cloud."""
