"""The APIs of Alibaba Cloud that saleops calls and its local cloud answers: names, paths, parameters and their types.

One table a product (``tables/<product>.api``), read when it is first asked for. Both sides use it: the client refuses to
send what an API does not have, the local cloud refuses to take it. Contract tests hold the tables against the vendor's own
metadata.
"""

from saleops.cloudapi.model import Api, Field, Product
from saleops.cloudapi.tables_reader import api_of, apis_of, find_roa, find_rpc, product_of, products

__all__ = [
    "Api",
    "Field",
    "Product",
    "api_of",
    "apis_of",
    "find_roa",
    "find_rpc",
    "product_of",
    "products",
]
