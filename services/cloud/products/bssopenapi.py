"""Billing: the account's balance, and prices as the price calculator has them. ``settings["balance"]`` is what is left."""

from collections.abc import Mapping
from typing import Any

from saleops.services.cloud.answers import LocalCall, answers
from saleops.services.cloud.catalogue import currency, instance_types, list_price, zones_of
from saleops.services.cloud.refusals import needed, wrong
from saleops.services.cloud.world import World

PRODUCTS = ("ecs",)
SUBSCRIPTION_HOURS = {"Month": 720, "Year": 8640}
SUBSCRIPTION_SHARE = 0.48
BALANCE = 10_000.0


@answers("bssopenapi", "QueryAccountBalance")
def query_account_balance(call: LocalCall, world: World) -> dict[str, Any]:
    balance = f"{float(world.settings.get('balance', BALANCE)):,.2f}"
    return _enveloped(
        {
            "AvailableAmount": balance,
            "AvailableCashAmount": balance,
            "CreditAmount": "0.00",
            "MybankCreditAmount": "0.00",
            "QuotaLimit": "0.00",
            "Currency": currency(world),
        }
    )


@answers("bssopenapi", "GetPayAsYouGoPrice")
def get_pay_as_you_go_price(call: LocalCall, world: World) -> dict[str, Any]:
    _check_product(call, "PayAsYouGo")
    details = []
    for index, module in enumerate(call.params["ModuleList"], 1):
        if module.get("PriceType") not in (None, "", "Hour"):
            raise wrong(
                "InvalidParameter",
                f"ModuleList.{index}.PriceType",
                module["PriceType"],
                "instances are priced by the Hour",
            )
        details.append(_detail(module, _hour_price(call, world, index, module), 1))
    return _enveloped(
        {
            "Currency": currency(world),
            "ModuleDetails": {"ModuleDetail": details},
            "PromotionDetails": {"PromotionDetail": []},
        }
    )


@answers("bssopenapi", "GetSubscriptionPrice")
def get_subscription_price(call: LocalCall, world: World) -> dict[str, Any]:
    _check_product(call, "Subscription")
    unit = call.params.get("ServicePeriodUnit") or "Month"
    if unit not in SUBSCRIPTION_HOURS:
        raise wrong("InvalidParameter", "ServicePeriodUnit", unit, "Month or Year")
    quantity = call.params.get("Quantity") or 1
    hours = SUBSCRIPTION_HOURS[unit] * (call.params.get("ServicePeriodQuantity") or 1)
    details = [
        _detail(
            module,
            _hour_price(call, world, index, module),
            hours * SUBSCRIPTION_SHARE * quantity,
        )
        for index, module in enumerate(call.params["ModuleList"], 1)
    ]
    total = round(sum(detail["OriginalCost"] for detail in details), 2)
    return _enveloped(
        {
            "Currency": currency(world),
            "Quantity": quantity,
            "OriginalPrice": total,
            "TradePrice": total,
            "DiscountPrice": 0.0,
            "ModuleDetails": {"ModuleDetail": details},
            "PromotionDetails": {"PromotionDetail": []},
        }
    )


@answers("bssopenapi", "DescribePricingModule")
def describe_pricing_module(call: LocalCall, world: World) -> dict[str, Any]:
    kind = call.params["SubscriptionType"]
    _check_product(call, kind if kind == "Subscription" else "PayAsYouGo")
    values = [
        {"Name": id, "Value": id, "Remark": id, "Type": "single_string"} for id in instance_types()
    ]
    return _enveloped(
        {
            "ModuleList": {
                "Module": [
                    {
                        "ModuleCode": "InstanceType",
                        "ModuleName": "Instance type",
                        "PriceType": "Month" if kind == "Subscription" else "Hour",
                        "Currency": currency(world),
                        "ConfigList": {"ConfigList": ["InstanceType", "Region"]},
                    }
                ]
            },
            "AttributeList": {
                "Attribute": [
                    {
                        "Code": "InstanceType",
                        "Name": "Instance type",
                        "Unit": "",
                        "Values": {"AttributeValue": values},
                    }
                ]
            },
        }
    )


@answers("bssopenapi", "DescribeInstanceBill")
def describe_instance_bill(call: LocalCall, world: World) -> dict[str, Any]:
    """Bills come a day late: a world that was just made has none yet."""
    return _enveloped(
        {
            "BillingCycle": call.params["BillingCycle"],
            "AccountID": world.account,
            "AccountName": "local",
            "TotalCount": 0,
            "MaxResults": call.params.get("MaxResults") or 20,
            "Items": [],
        }
    )


def _enveloped(data: dict[str, Any]) -> dict[str, Any]:
    return {"Code": "Success", "Message": "Successful!", "Success": True, "Data": data}


def _check_product(call: LocalCall, subscription: str) -> None:
    product = str(call.params["ProductCode"]).lower()
    if product not in PRODUCTS:
        raise wrong(
            "InvalidParameter",
            "ProductCode",
            call.params["ProductCode"],
            "use " + ", ".join(PRODUCTS),
        )
    if call.params["SubscriptionType"] != subscription:
        raise wrong(
            "InvalidParameter",
            "SubscriptionType",
            call.params["SubscriptionType"],
            f"use {subscription}",
        )
    if not call.params.get("ModuleList") and call.api.name != "DescribePricingModule":
        raise needed("ModuleList")


def _hour_price(call: LocalCall, world: World, index: int, module: Mapping[str, Any]) -> float:
    """The hour of the type that ``Config`` names: ``InstanceType:ecs.c7.xlarge,Region:ap-southeast-1``."""
    where = f"ModuleList.{index}"
    if module.get("ModuleCode") != "InstanceType":
        raise wrong(
            "InvalidParameter", f"{where}.ModuleCode", module.get("ModuleCode"), "use InstanceType"
        )
    pairs = (pair.partition(":") for pair in str(module.get("Config") or "").split(","))
    config = {name.strip(): value.strip() for name, _, value in pairs}
    type = config.get("InstanceType", "")
    if type not in instance_types():
        raise wrong(
            "InvalidParameter",
            f"{where}.Config",
            module.get("Config"),
            "no such InstanceType in it",
        )
    region = config.get("Region") or call.params.get("Region") or call.region
    zones = zones_of(str(region))
    if not zones:
        raise wrong("InvalidParameter", "Region", region, "no such region")
    return list_price(world, type, zones[0])


def _detail(module: Mapping[str, Any], price: float, times: float) -> dict[str, Any]:
    cost = round(price * times, 4)
    return {
        "ModuleCode": module["ModuleCode"],
        "UnitPrice": price,
        "OriginalCost": cost,
        "CostAfterDiscount": cost,
        "InvoiceDiscount": 0.0,
    }
