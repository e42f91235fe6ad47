"""Asks a running service whether requests are welcome, for commands that need to know before they go on."""

import time

TIMEOUT_S = 2.0
POLL_S = 0.1
IN_A_ROW = 4
"""Workers share a port, and any of them answers: one that is ready says little of the others."""


def why_not_ready(url: str) -> str:
    """Why the service at ``url`` is not ready; empty when it is."""
    import http.client
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        text = answer.read(500).decode("utf-8", "replace").strip()
    except (OSError, http.client.HTTPException) as error:
        return f"it does not answer: {error or type(error).__name__}"
    finally:
        connection.close()
    return "" if answer.status == 200 else text or f"it answered {answer.status}"


def wait_ready(url: str, *, within_s: float) -> str:
    """Wait until the service at ``url`` is ready. Returns why it is not when time runs out; empty when it is."""
    give_up_s = time.monotonic() + within_s
    good = 0
    while True:
        why = why_not_ready(url)
        good = 0 if why else good + 1
        if good == IN_A_ROW:
            return ""
        if why and time.monotonic() >= give_up_s:
            return why
        if why:
            time.sleep(POLL_S)
