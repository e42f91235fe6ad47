"""What the SDK of Alibaba Cloud may print: nothing of its own."""

import logging


def hush() -> None:
    """Keep the SDK's loggers from printing headers (``DEBUG=sdk`` writes session tokens) and chatter to our stderr."""
    for name in ("darabonba-core", "alibabacloud-tea", "credentials", "apscheduler"):
        logging.getLogger(name).setLevel(logging.ERROR)
