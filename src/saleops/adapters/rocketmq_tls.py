"""TLS to a proxy whose certificate a CA of one's own signed.

The client opens its channels with the machine's certificates and has no option for others; gRPC's own variable
(GRPC_DEFAULT_SSL_ROOTS_FILE_PATH) is read once, and for the whole process. So the one function of gRPC's that the client asks
for credentials is replaced by one that knows which client is asking.
"""

import threading
from types import SimpleNamespace
from typing import Any


class _Roots(threading.local):
    """What the client that opens a channel on this thread trusts; None: the machine's certificates."""

    pem: bytes | None = None


_roots = _Roots()


def trust(client: Any, pem: bytes) -> None:
    """Let ``client``, which was not started yet, trust the certificates in ``pem`` and no others."""
    import grpc
    from rocketmq.v5.client.connection import rpc_channel

    def ssl_channel_credentials() -> Any:
        return grpc.ssl_channel_credentials(root_certificates=_roots.pem)

    # All that this module of the client's takes from gRPC by this name.
    rpc_channel.grpc = SimpleNamespace(ssl_channel_credentials=ssl_channel_credentials)
    rpc = client.rpc_client
    made = rpc.retrieve_or_create_channel

    def retrieve_or_create_channel(endpoints: Any) -> Any:
        _roots.pem = pem
        try:
            return made(endpoints)
        finally:
            _roots.pem = None

    rpc.retrieve_or_create_channel = retrieve_or_create_channel
