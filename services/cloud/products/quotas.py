"""Quota Center: how much of what an account may have, how much of it is used, and applications for more.

People review an application; nobody does here, so ``settings["quota_review"]`` is their verdict: ``{"seconds": 172800, "verdict":
"Agree", "reason": "..."}``. Without it an application that stays within the quota's range is agreed to after two days, any other
one is refused at once by its value. An agreed quota holds from the first look after the review on.
"""

from typing import Any

from saleops.services.cloud.answers import ApiError, LocalCall, answers
from saleops.services.cloud.list_pages import by_token
from saleops.services.cloud.products.quota_table import QUOTA_TABLE, Quota, limit_of
from saleops.services.cloud.timestamps import iso_s
from saleops.services.cloud.world import Thing, World

KIND = "quota_application"
REVIEW_S = 2 * 86_400.0
_CATEGORIES = ("CommonQuota", "FlowControl", "WhiteListLabel")


def _dimensions(call: LocalCall, quota: Quota | None = None) -> dict[str, str]:
    """What was asked for, with the caller's region where the quota counts by region."""
    given: dict[str, str] = {}
    for number, pair in enumerate(call.params.get("Dimensions") or (), start=1):
        key, value = pair.get("Key"), pair.get("Value")
        if not key or not value:
            raise ApiError(
                400, "PARAMETER.ILLEGALL", f"Dimensions.{number} needs Key and Value: {pair!r}"
            )
        if key in given:
            raise ApiError(
                400, "PARAMETER.ILLEGALL", f"Dimensions.{number}.Key comes twice: {key!r}"
            )
        given[key] = value
    if quota is None:
        return given
    known = {*quota.dimensions, "vpcId", "clusterId", "snatTableId", "regionId"}
    unknown = sorted(set(given) - known)
    if unknown:
        raise ApiError(
            400, "PARAMETER.ILLEGALL", f"Dimensions: {quota.code} has no dimension {unknown[0]!r}"
        )
    if "regionId" in quota.dimensions:
        given.setdefault("regionId", call.region)
    return given


def _quota(call: LocalCall) -> Quota:
    product, code = call.params["ProductCode"], call.params["QuotaActionCode"]
    for quota in QUOTA_TABLE:
        if quota.code == code and quota.product == product.lower():
            return quota
    raise ApiError(
        404, "QUOTA.NOT.FOUND", f"QuotaActionCode of {product!r} does not exist: {code!r}"
    )


def _shown(quota: Quota, world: World, dimensions: dict[str, str]) -> dict[str, Any]:
    total, used = limit_of(world, quota), quota.usage(world, dimensions)
    shown: dict[str, Any] = {
        "Adjustable": quota.adjustable,
        "ApplicableRange": [float(total), float(max(quota.most, total))]
        if quota.adjustable
        else [],
        "ApplicableType": "continuous",
        "Consumable": quota.consumable,
        "Dimensions": {
            key: value
            for key, value in dimensions.items()
            if key in (*quota.dimensions, "vpcId", "clusterId")
        },
        "GlobalQuota": not quota.dimensions,
        "ProductCode": quota.product,
        "QuotaActionCode": quota.code,
        "QuotaArn": f"acs:quotas:{dimensions.get('regionId', '*')}:{world.account}:quota/{quota.product}/{quota.code}",
        "QuotaCategory": quota.category,
        "QuotaDescription": quota.name,
        "QuotaItems": [],
        "QuotaName": quota.name,
        "QuotaType": "normal",
        "QuotaUnit": quota.unit,
        "SupportedRange": [],
        "TotalQuota": float(total),
        "TotalUsage": float(used),
    }
    if quota.period is not None:
        shown["Period"] = {"PeriodValue": quota.period[0], "PeriodUnit": quota.period[1]}
    if not quota.adjustable:
        shown["UnadjustableDetail"] = "limitReached"
    return shown


@answers("quotas", "ListProductQuotas")
def list_product_quotas(call: LocalCall, world: World) -> dict[str, Any]:
    params = call.params
    category = params.get("QuotaCategory") or "CommonQuota"
    if category not in _CATEGORIES:
        raise ApiError(
            400,
            "PARAMETER.ILLEGALL",
            f"QuotaCategory must be {', '.join(_CATEGORIES)}, not {category!r}",
        )
    product = params["ProductCode"].lower()
    if product not in {quota.product for quota in QUOTA_TABLE}:
        raise ApiError(
            404, "PRODUCT.NOT.FOUND", f"ProductCode has no quotas here: {params['ProductCode']!r}"
        )
    _settle(world)
    found = [
        quota
        for quota in QUOTA_TABLE
        if quota.product == product
        and quota.category == category
        and params.get("QuotaActionCode") in (None, "", quota.code)
        and str(params.get("KeyWord") or "").lower() in f"{quota.code} {quota.name}".lower()
    ]
    sort = params.get("SortField")
    if sort == "TOTAL":
        found.sort(
            key=lambda quota: limit_of(world, quota),
            reverse=params.get("SortOrder") == "Descending",
        )
    page, counts = by_token(found, params)
    return {"Quotas": [_shown(quota, world, _dimensions(call, quota)) for quota in page], **counts}


@answers("quotas", "GetProductQuota")
def get_product_quota(call: LocalCall, world: World) -> dict[str, Any]:
    quota = _quota(call)
    _settle(world)
    return {"Quota": _shown(quota, world, _dimensions(call, quota))}


@answers("quotas", "ListProducts")
def list_products(call: LocalCall, world: World) -> dict[str, Any]:
    codes = list(dict.fromkeys(quota.product for quota in QUOTA_TABLE))
    products = [
        {
            "CommonQuotaSupport": "support",
            "Dynamic": False,
            "FlowControlSupport": "support" if _has(code, "FlowControl") else "unsupport",
            "ProductCode": code,
            "ProductName": code,
            "ProductNameEn": code,
            "WhiteListLabelQuotaSupport": "unsupport",
        }
        for code in codes
    ]
    page, counts = by_token(products, call.params)
    return {"ProductInfo": page, **counts}


def _has(product: str, category: str) -> bool:
    return any(quota.product == product and quota.category == category for quota in QUOTA_TABLE)


@answers("quotas", "ListProductQuotaDimensions")
def list_product_quota_dimensions(call: LocalCall, world: World) -> dict[str, Any]:
    product = call.params["ProductCode"].lower()
    keys = dict.fromkeys(
        key for quota in QUOTA_TABLE if quota.product == product for key in quota.dimensions
    )
    dimensions = [
        {
            "DependentDimensions": [],
            "DimensionKey": key,
            "DimensionValueDetail": [],
            "DimensionValues": [call.region],
            "Name": key,
            "Requisite": False,
        }
        for key in keys
    ]
    page, counts = by_token(dimensions, call.params)
    return {"QuotaDimensions": page, **counts}


@answers("quotas", "CreateQuotaApplication")
def create_quota_application(call: LocalCall, world: World) -> dict[str, Any]:
    """One application a quota at a time; there is no token."""
    params, quota = call.params, _quota(call)
    _settle(world)
    total, wanted = limit_of(world, quota), params["DesireValue"]
    if not str(params["Reason"]).strip():
        raise ApiError(400, "PARAMETER.ILLEGALL", "Reason is empty")
    if not quota.adjustable:
        raise ApiError(
            400, "QUOTA.UNADJUSTABLE", f"QuotaActionCode cannot be raised: {quota.code!r}"
        )
    if not total < wanted <= max(quota.most, total):
        raise ApiError(
            400,
            "QUOTA.VALUE.ILLEGAL",
            f"DesireValue {wanted:g}: {quota.name} has {total} and can be raised to {quota.most}",
        )
    dimensions = _dimensions(call, quota)
    for other in world.each(KIND, code=quota.code):
        if world.state(other) == "Process":
            raise ApiError(
                400,
                "APPLICATION.PROCESSING",
                f"QuotaActionCode {quota.code!r} has an application in review: {other.id}",
            )
    review = world.settings.get("quota_review", {})
    verdict = review.get("verdict", "Agree")
    data = {
        "code": quota.code,
        "DesireValue": wanted,
        "Reason": params["Reason"],
        "Dimension": dimensions,
        "NoticeType": int(params.get("NoticeType") or 0),
        "AuditReason": review.get("reason") or ("Agree" if verdict == "Agree" else "not needed"),
        "applied": False,
    }
    seconds = float(review.get("seconds", REVIEW_S))
    thing = world.create(
        KIND, world.new_id("d", length=12), data, [("Process", seconds), (verdict, 0)]
    )
    shown = _application(thing, world)
    shown.pop("QuotaCategory")
    return {**shown, "DesireValue": int(wanted)}


def _settle(world: World) -> None:
    """Agreed applications take effect."""
    for thing in world.each(KIND, applied=False):
        if world.state(thing) == "Agree":
            quota = next(each for each in QUOTA_TABLE if each.code == thing.data["code"])
            quotas = {
                **world.settings.get("quotas", {}),
                quota.setting: int(thing.data["DesireValue"]),
            }
            world.settings["quotas"] = quotas
            world.update(thing, applied=True)


def _application(thing: Thing, world: World) -> dict[str, Any]:
    quota, state, data = (
        next(each for each in QUOTA_TABLE if each.code == thing.data["code"]),
        world.state(thing),
        thing.data,
    )
    shown = {
        "ApplicationId": thing.id,
        "ApplyTime": iso_s(thing.born_ms),
        "DesireValue": int(data["DesireValue"]),
        "Dimension": data["Dimension"],
        "EffectiveTime": iso_s(thing.timeline[-1][0]),
        "ExpireTime": iso_s(thing.timeline[-1][0] + 99 * 365 * 86_400_000),
        "NoticeType": data["NoticeType"],
        "ProductCode": quota.product,
        "QuotaActionCode": quota.code,
        "QuotaArn": f"acs:quotas:*:{world.account}:quota/{quota.product}/{quota.code}",
        "QuotaCategory": quota.category,
        "QuotaDescription": quota.name,
        "QuotaName": quota.name,
        "QuotaUnit": quota.unit,
        "Reason": data["Reason"],
        "Status": state,
    }
    if state != "Process":
        shown["AuditReason"] = data["AuditReason"]
    if state == "Agree":
        shown["ApproveValue"] = float(data["DesireValue"])
    return shown


@answers("quotas", "GetQuotaApplication")
def get_quota_application(call: LocalCall, world: World) -> dict[str, Any]:
    application_id = call.params.get("ApplicationId")
    if not application_id:
        raise ApiError(400, "MISSING.PARAMETER", "ApplicationId is missing")
    thing = world.find(KIND, application_id)
    if thing is None:
        raise ApiError(
            404, "APPLICATION.NOT.FOUND", f"ApplicationId does not exist: {application_id!r}"
        )
    _settle(world)
    return {"QuotaApplication": _application(thing, world)}


@answers("quotas", "ListQuotaApplications")
def list_quota_applications(call: LocalCall, world: World) -> dict[str, Any]:
    params = call.params
    _settle(world)
    shown = [_application(thing, world) for thing in world.each(KIND)]
    found = [
        {**each, "DesireValue": float(each["DesireValue"])}
        for each in shown
        if all(
            params.get(name) in (None, "", each[name])
            for name in ("ProductCode", "QuotaActionCode", "QuotaCategory", "Status")
        )
        and str(params.get("KeyWord") or "").lower() in each["QuotaName"].lower()
    ]
    page, counts = by_token(found, params)
    return {"QuotaApplications": page, **counts}
