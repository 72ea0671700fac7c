#!/usr/bin/env python3
"""Waits until strategies of every host have orders at both venues, adds what a stop must leave there, and writes all that down:
prepare.py FILE, {venue: {"resting": [client order ids], "stays": [...]}}."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from lab import lab  # noqa: E402  (the path above must be set first)

PATIENCE = 60  # seconds; a guard, they tick twice a second
LONG = {"symbol": "BTCUSDT", "side": "Buy", "size": "0.02", "avgPrice": "60000", "markPrice": "60100", "positionValue": "1200"}
STOP = {"symbol": "BTCUSDT", "side": "Sell", "orderType": "Market", "qty": "0.02", "triggerPrice": "58000", "triggerDirection": 2, "reduceOnly": True}
OTHERS = {"symbol": "BTCUSDT", "side": "Sell", "orderType": "Limit", "qty": "0.5", "price": "70000", "orderLinkId": "others-1"}


def resting(url: str) -> list[str]:
    return [order["orderLinkId"] for order in lab.open_orders(url)]


def wait(url: str) -> list[str]:
    end = time.monotonic() + PATIENCE
    while not all(any(f"-{host}-" in link for link in resting(url)) for host in lab.HOSTS):
        if time.monotonic() > end:
            sys.exit(f"no orders of every host at {url} after {PATIENCE} s: {resting(url)}")
        time.sleep(0.1)
    return resting(url)


def main() -> None:
    found: dict[str, dict[str, Any]] = {}
    for venue, url in lab.venue_urls().items():
        stays = [{**STOP, "orderLinkId": lab.PREFIX + "protects"}]
        if venue == "main":  # the account that is shared with others
            stays.append(OTHERS)
        lab.ask_venue(url, "positions", LONG)
        for order in stays:
            lab.ask_venue(url, "orders", order)
        found[venue] = {"resting": wait(url), "stays": [order["orderLinkId"] for order in stays]}
    Path(sys.argv[1]).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
