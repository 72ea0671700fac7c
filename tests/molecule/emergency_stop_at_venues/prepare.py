#!/usr/bin/env python3
"""Waits until strategies of every host have orders at both venues, adds what a stop must leave there, and writes all that down:
prepare.py FILE, {venue: {"resting": [client order ids], "stays": [...]}}."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from lab import lab  # noqa: E402  (the path above must be set first)

LONG = {"symbol": "BTCUSDT", "side": "Buy", "size": "0.02", "avgPrice": "60000", "markPrice": "60100", "positionValue": "1200"}
STOP = {"symbol": "BTCUSDT", "side": "Sell", "orderType": "Market", "qty": "0.02", "triggerPrice": "58000", "triggerDirection": 2, "reduceOnly": True}
OTHERS = {"symbol": "BTCUSDT", "side": "Sell", "orderType": "Limit", "qty": "0.5", "price": "70000", "orderLinkId": "others-1"}


def main() -> None:
    resting = lab.wait_for_orders()
    found: dict[str, dict[str, Any]] = {}
    for venue, url in lab.venue_urls().items():
        stays = [{**STOP, "orderLinkId": lab.PREFIX + "protects"}]
        if venue == "main":  # the account that is shared with others
            stays.append(OTHERS)
        lab.ask_venue(url, "positions", LONG)
        for order in stays:
            lab.ask_venue(url, "orders", order)
        found[venue] = {"resting": [order["orderLinkId"] for order in resting[venue]], "stays": [order["orderLinkId"] for order in stays]}
    Path(sys.argv[1]).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
