"""What a sale needs of Alibaba Cloud, as pure values: calls, resources, and what must be true of each."""
