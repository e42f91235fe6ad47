"""saleops: sale-day runbooks for Alibaba Cloud, rehearsed on one machine with real engines."""

__version__ = "0.1.0"
