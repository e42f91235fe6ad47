"""The order service: carts, checkout, and a buyer's own orders."""
