"""``python -m saleops.services.spot_handler``: runs until SIGTERM. Settings: settings.py, all from the environment.

Its pod belongs to a DaemonSet, so a drain leaves it alone and it lives as long as its machine. Exit codes are those of
the command line: 2 bad settings, 4 an upstream that cannot be used, 1 a bug.
"""

import logging
import signal
import sys
from types import FrameType

from saleops import wiring
from saleops.errors import SaleopsError
from saleops.services.spot_handler.handler import Handler
from saleops.services.spot_handler.metadata import Metadata
from saleops.services.spot_handler.metrics import Metrics
from saleops.services.spot_handler.probes import Probes
from saleops.services.spot_handler.settings import Settings, load_settings
from saleops.services.worker import log_to_stderr

log = logging.getLogger("saleops.services.spot_handler")

CONNECT_TIMEOUT_S = 2.0
READ_TIMEOUT_S = 5.0  # a drain counts in seconds: the command line's patience is too long


def main() -> int:
    log_to_stderr("spot-handler")
    logging.getLogger("httpx2").setLevel(
        logging.WARNING
    )  # a line for each request, every two seconds
    try:
        settings = load_settings()
        _run(settings)
    except SaleopsError as error:
        log.error("%s%s", error.message, f" ({error.hint})" if error.hint else "")
        return error.exit_code
    except Exception:
        log.exception("a bug ended the spot handler")
        return 1
    log.info("stopped")
    return 0


def _run(settings: Settings) -> None:
    metrics = Metrics(settings.node)
    with wiring.open_cluster(
        connect_timeout_s=CONNECT_TIMEOUT_S, read_timeout_s=READ_TIMEOUT_S
    ) as cluster:
        handler = Handler(cluster, Metadata(settings.metadata_url), settings, metrics)

        def stop(signum: int, frame: FrameType | None) -> None:
            handler.stop()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        probes = Probes(handler.why_dead, handler.why_not_ready, metrics.text)
        port = probes.listen(settings.admin_host, settings.admin_port)
        log.info("probes and metrics on port %d", port)
        try:
            handler.run()
        finally:
            probes.close()


if __name__ == "__main__":
    sys.exit(main())
