"""Who sits at the keyboard, for journals and trails."""

import getpass
import os
import socket


def whoami() -> str:
    """The person at the keyboard, for the journal: user@host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"
