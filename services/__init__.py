"""The bundled checkout: catalog, order, payment, shipping, and the gateway in front of them."""
