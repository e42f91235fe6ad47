"""The part of ``saleops doctor`` that asks Alibaba Cloud."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from saleops.errors import SaleopsError
from saleops.operations.doctor import PROBLEM, SKIPPED, WARNING, Check

if TYPE_CHECKING:
    from saleops.config.sale import Sale


def cloud_checks(
    *,
    asked: bool | None,
    endpoint: str | None,
    region: str | None,
    sale: "Sale | None",
    state_dir: Path,
) -> list[Check]:
    """What the cloud says. ``asked`` is None where nobody said: then only if there are credentials, or a cloud is named."""
    from saleops import wiring

    if asked is False:
        return []
    if asked is None and endpoint is None and not wiring.signs_here():
        return [Check("cloud", SKIPPED, "no credentials here: not looked at")]
    try:
        return _ask(endpoint, region, sale, state_dir)
    except SaleopsError as error:
        # Without --cloud nobody asked for it: a machine that only rehearses is no worse for it.
        status = PROBLEM if asked or endpoint is not None else WARNING
        return [Check("cloud", status, "could not be looked at", error.message, error.hint or "")]


def _ask(
    endpoint: str | None, region: str | None, sale: "Sale | None", state_dir: Path
) -> list[Check]:
    from random import Random

    from saleops import wiring
    from saleops.operations.doctor_cloud import READS, Signed, check_cloud

    file_region = sale.region if sale is not None else None
    with wiring.open_cloud(
        region=region, file_region=file_region, endpoint=endpoint, state_dir=state_dir
    ) as cloud:
        held = cloud.credentials
        return check_cloud(
            cloud,
            signed=Signed(held.source, held.masked_key, cloud.region_origin, held.temporary),
            products=tuple(READS),
            knock=lambda products: wiring.knock_at_products(cloud, products),
            environment=os.environ,
            random=Random(),
            virtual=held.source == "the local cloud",
        )
