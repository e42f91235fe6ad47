"""A Kubernetes API on loopback: what saleops uses of one, with controllers that keep a cluster alive."""
