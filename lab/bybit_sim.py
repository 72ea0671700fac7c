#!/usr/bin/env python3
"""A venue that speaks enough of Bybit's v5 REST API for an unmodified ccxt to work against it, with faults on demand.

    python3 bybit_sim.py --port 8081 [--host 0.0.0.0] --key KEY --secret SECRET

Written after the public documentation of the API and the requests that ccxt sends. Signatures (X-BAPI-SIGN), the receive window
and the key are checked as the venue does. Two linear futures and one spot market exist; orders rest until they are cancelled,
nothing is ever filled. Everything is in memory.

    GET  /v5/market/time  /v5/market/instruments-info  /v5/system/status
    GET  /v5/user/query-api  /v5/account/info  /v5/account/wallet-balance  /v5/asset/coin/query-info
    GET  /v5/order/realtime  /v5/position/list
    POST /v5/order/create  /v5/order/cancel  /v5/order/cancel-batch  /v5/order/cancel-all
    GET  /admin/orders            every open order, whatever the faults say
    POST /admin/faults            {"mode": "lie_cancel", "value": 1}; {"mode": null} ends them all
    POST /admin/orders            an order as /v5/order/create takes it, without a signature
    POST /admin/positions         {"symbol", "side": "Buy", "size", "avgPrice", "markPrice"}

The faults (value): `down` closes connections without an answer; `slow` (seconds) does what was asked and answers later;
`slow_cancel` (seconds) the same for cancels only; `error500`; `rate_limit`; `bad_key`; `skew` (seconds) the venue's clock is ahead;
`reject_cancel` (code; 1: 10016) refuses every cancel; `lie_cancel` answers OK and does nothing; `appear` (count) places that many new
orders after the next cancels, one each.

Standard library only, Python 3.11 or newer.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import json
import sys
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

MODES = ("down", "slow", "slow_cancel", "error500", "rate_limit", "bad_key", "skew", "reject_cancel", "lie_cancel", "appear")
BODY_LIMIT = 1024 * 1024  # bytes
PAGE, PAGE_MOST = 20, 50  # open orders in one answer: the API's default and its greatest


class Refused(Exception):
    """An answer with a retCode other than 0."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self.code = code


def linear(symbol: str, base: str) -> dict[str, Any]:
    """One linear perpetual, as instruments-info shows it."""
    return {
        "symbol": symbol,
        "contractType": "LinearPerpetual",
        "status": "Trading",
        "baseCoin": base,
        "quoteCoin": "USDT",
        "settleCoin": "USDT",
        "launchTime": "1585526400000",
        "deliveryTime": "0",
        "leverageFilter": {"minLeverage": "1", "maxLeverage": "100", "leverageStep": "0.01"},
        "priceFilter": {"minPrice": "0.5", "maxPrice": "999999", "tickSize": "0.5"},
        "lotSizeFilter": {"maxOrderQty": "100", "minOrderQty": "0.001", "qtyStep": "0.001"},
    }


MARKETS: dict[str, list[dict[str, Any]]] = {
    "linear": [linear("BTCUSDT", "BTC"), linear("ETHUSDT", "ETH")],
    "spot": [
        {
            "symbol": "BTCUSDT",
            "baseCoin": "BTC",
            "quoteCoin": "USDT",
            "status": "Trading",
            "marginTrading": "both",
            "lotSizeFilter": {"basePrecision": "0.000001", "quotePrecision": "0.01", "minOrderQty": "0.0001", "maxOrderQty": "60"},
            "priceFilter": {"tickSize": "0.01"},
        }
    ],
    "inverse": [],
    "option": [],
}


class Account:
    """One account: its key, orders and positions. Thread-safe."""

    def __init__(self, key: str, secret: str) -> None:
        self.key = key
        self.secret = secret
        self.faults: dict[str, float] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self._orders: dict[str, dict[str, Any]] = {}
        self._positions: list[dict[str, Any]] = []
        self._lock = threading.RLock()
        self._next = 1

    def now(self) -> int:
        """The venue's clock, in milliseconds."""
        return int(1000 * (time.time() + self.faults.get("skew", 0)))

    def place(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """A new resting order; Refused for an unknown market."""
        category, symbol = str(asked.get("category", "linear")), str(asked.get("symbol"))
        if symbol not in [m["symbol"] for m in MARKETS.get(category, [])]:
            raise Refused(10001, "params error: symbol invalid")
        with self._lock:
            number, self._next = self._next, self._next + 1
            stamp = str(self.now())
            order = {
                "category": category,
                "symbol": symbol,
                "orderId": "%08d-0000-4000-8000-000000000000" % number,
                "orderLinkId": str(asked.get("orderLinkId", "")),
                "side": str(asked.get("side", "Buy")),
                "orderType": str(asked.get("orderType", "Limit")),
                "price": str(asked.get("price", "")),
                "qty": str(asked.get("qty", "0.01")),
                "leavesQty": str(asked.get("qty", "0.01")),
                "cumExecQty": "0",
                "cumExecValue": "0",
                "avgPrice": "",
                "orderStatus": "Untriggered" if asked.get("triggerPrice") else "New",
                "triggerPrice": str(asked.get("triggerPrice", "")),
                "triggerDirection": int(asked.get("triggerDirection", 0)),
                "stopOrderType": "Stop" if asked.get("triggerPrice") else "",
                "reduceOnly": bool(asked.get("reduceOnly", False)),
                "closeOnTrigger": bool(asked.get("closeOnTrigger", False)),
                "timeInForce": "GTC",
                "takeProfit": "",
                "stopLoss": "",
                "createdTime": stamp,
                "updatedTime": stamp,
            }
            if category != "spot":
                order["tpslMode"] = ""
            self._orders[order["orderId"]] = order
            return order

    def hold(self, position: Mapping[str, Any]) -> None:
        """Sets a position."""
        with self._lock:
            self._positions.append({"positionIdx": 0, "leverage": "1", "stopLoss": "", "takeProfit": "", "unrealisedPnl": "0", **position})

    def open(self) -> list[dict[str, Any]]:
        with self._lock:
            return list(self._orders.values())

    # The API

    def matching(self, asked: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Open orders of a category, a symbol, a filter. Without a filter every kind, as unified accounts get it."""
        found = [o for o in self.open() if o["category"] == asked.get("category")]
        if asked.get("symbol"):
            found = [o for o in found if o["symbol"] == asked["symbol"]]
        elif asked.get("category") == "linear" and not asked.get("settleCoin") and not asked.get("baseCoin"):
            raise Refused(10001, "params error: symbol, settleCoin or baseCoin is needed")
        if asked.get("orderFilter") == "StopOrder":
            found = [o for o in found if o["triggerPrice"]]
        elif asked.get("orderFilter") == "Order":
            found = [o for o in found if not o["triggerPrice"]]
        return found

    def realtime(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        found = self.matching(asked)
        size = min(int(asked.get("limit", PAGE)), PAGE_MOST)
        start = int(asked.get("cursor") or 0)
        more = str(start + size) if len(found) > start + size else ""
        return {"category": asked["category"], "list": found[start : start + size], "nextPageCursor": more}

    def cancel(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        with self._lock:
            order = self._orders.get(str(asked.get("orderId")))
            if order is None or order["symbol"] != asked.get("symbol") or order["category"] != asked.get("category"):
                raise Refused(110001, "order not exists or too late to cancel")
            if self._really():
                self._end(order, "Cancelled")
            self._appear(order)
            return {"orderId": order["orderId"], "orderLinkId": order["orderLinkId"]}

    def cancel_batch(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        rows = []
        for one in asked.get("request", [])[:10]:
            rows.append({"category": asked.get("category"), "symbol": one.get("symbol"), **self.cancel({**one, "category": asked.get("category")})})
        return {"list": rows}

    def cancel_all(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        with self._lock:
            found = self.matching(asked)
            really = self._really()
            for order in found:
                if really:
                    self._end(order, "Cancelled")
            if found:
                self._appear(found[0])
            rows = [{"orderId": o["orderId"], "orderLinkId": o["orderLinkId"]} for o in found]
            return {"list": rows, "success": "1"}

    def _end(self, order: dict[str, Any], status: str) -> None:
        """An order that is open no longer."""
        del self._orders[order["orderId"]]
        order["orderStatus"] = status

    def _really(self) -> bool:
        if "reject_cancel" in self.faults:
            raise Refused(int(self.faults["reject_cancel"]) if self.faults["reject_cancel"] > 1 else 10016, "Server error: cancels are refused")
        return "lie_cancel" not in self.faults

    def _appear(self, like: Mapping[str, Any]) -> None:
        left = self.faults.get("appear", 0)
        if left > 0:
            self.faults["appear"] = left - 1
            self.place({**like, "orderLinkId": like["orderLinkId"] + "x"})

    def check(self, headers: Any, payload: str) -> None:
        """Key, time and signature, in the order in which the venue looks at them."""
        key, stamp, window = headers.get("X-BAPI-API-KEY", ""), headers.get("X-BAPI-TIMESTAMP", ""), headers.get("X-BAPI-RECV-WINDOW", "5000")
        if key != self.key or "bad_key" in self.faults:
            raise Refused(10003, "API key is invalid.")
        if not stamp.isdigit() or not self.now() - int(window) <= int(stamp) < self.now() + 1000:
            raise Refused(10002, "invalid request, please check your server timestamp or recv_window param")
        good = hmac.new(self.secret.encode(), (stamp + key + window + payload).encode(), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(good, headers.get("X-BAPI-SIGN", "")):
            raise Refused(10004, "error sign! please check your signature generation algorithm.")

    def answer(self, path: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        """The `result` of a request that is allowed; KeyError for a path that does not exist."""
        if path == "/v5/market/instruments-info":
            rows = [] if asked.get("status") == "PreLaunch" else MARKETS.get(str(asked.get("category")), [])
            return {"category": asked.get("category"), "list": rows, "nextPageCursor": ""}
        coin = {"coin": "USDT", "walletBalance": "1000", "equity": "1000", "locked": "0"}
        fixed: dict[str, dict[str, Any]] = {
            "/v5/market/time": {"timeSecond": str(self.now() // 1000), "timeNano": str(self.now() * 1_000_000)},
            "/v5/system/status": {"list": []},
            "/v5/user/query-api": {"unified": 0, "uta": 1, "readOnly": 0},
            "/v5/account/info": {"unifiedMarginStatus": 6},
            "/v5/asset/coin/query-info": {"rows": []},
            "/v5/account/wallet-balance": {"list": [{"accountType": "UNIFIED", "coin": [coin]}]},
            "/v5/position/list": {
                "category": asked.get("category"),
                "list": [p for p in self._positions if asked.get("symbol") in (None, p["symbol"])],
                "nextPageCursor": "",
            },
        }
        if path in fixed:
            return fixed[path]
        acts = {
            "/v5/order/realtime": self.realtime,
            "/v5/order/create": self.place,
            "/v5/order/cancel": self.cancel,
            "/v5/order/cancel-batch": self.cancel_batch,
            "/v5/order/cancel-all": self.cancel_all,
        }
        return acts[path](asked)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes: 40 ms each time otherwise
    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: the account keeps what was asked."""

    def do_GET(self) -> None:
        self._do("")

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if length > BODY_LIMIT:
            self._send(413, {})
            return
        self._do(self.rfile.read(length).decode("utf-8", "replace"))

    def _do(self, body: str) -> None:
        account, parts = self.server.account, urlsplit(self.path)
        try:
            asked = json.loads(body) if body else dict(parse_qsl(parts.query))
        except ValueError:
            asked = {}
        if parts.path.startswith("/admin/"):
            self._admin(parts.path, asked if body else None)
            return
        faults, cancels = dict(account.faults), "/cancel" in parts.path
        account.calls.append((parts.path, asked))
        if "down" in faults:
            self.close_connection = True
            return
        if "error500" in faults:
            self._send(500, None)
            return
        code, words, result = 0, "OK", {}
        try:
            if "rate_limit" in faults:
                raise Refused(10006, "Too many visits. Exceeded the API Rate Limit.")
            if not parts.path.startswith(("/v5/market/", "/v5/system/")):
                account.check(self.headers, body or parts.query)
            result = account.answer(parts.path, asked)
        except Refused as refused:
            code, words = refused.code, str(refused)
        except KeyError:
            self._send(404, None)
            return
        delay = faults.get("slow", 0) or (faults.get("slow_cancel", 0) if cancels else 0)
        if delay:
            self.server.ended.wait(delay)
        self._send(200, {"retCode": code, "retMsg": words, "result": result, "retExtInfo": {}, "time": account.now()})

    def _admin(self, path: str, body: dict[str, Any] | None) -> None:
        account = self.server.account
        if path == "/admin/orders" and body is None:
            self._send(200, {"orders": account.open()})
        elif path == "/admin/orders" and body is not None:
            try:
                self._send(200, account.place(body))
            except Refused as refused:
                self._send(400, {"error": str(refused)})
        elif path == "/admin/positions" and body:
            account.hold(body)
            self._send(200, {})
        elif path == "/admin/faults" and body is not None and body.get("mode") in (None, *MODES):
            if body.get("mode") is None:
                account.faults.clear()
            else:
                account.faults[body["mode"]] = float(body.get("value", 1))
            self._send(200, {"faults": account.faults})
        else:
            self._send(404, None)

    def _send(self, status: int, content: dict[str, Any] | None) -> None:
        data = b"<html>error</html>" if content is None else json.dumps(content).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "text/html" if content is None else "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except OSError:
            self.close_connection = True  # the caller's deadline has passed


class Server(ThreadingHTTPServer):
    """The venue on a port; `url` is where it listens."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], account: Account) -> None:
        super().__init__(address, Handler)
        self.account = account
        self.ended = threading.Event()

    @property
    def url(self) -> str:
        return "http://%s:%d" % (self.server_address[0], self.server_address[1])

    def shutdown(self) -> None:
        self.ended.set()
        super().shutdown()


def main() -> int:
    parser = argparse.ArgumentParser(description="A venue that speaks enough of Bybit's v5 API for ccxt.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8081)
    parser.add_argument("--key", required=True)
    parser.add_argument("--secret", required=True)
    options = parser.parse_args()
    try:
        server = Server((options.host, options.port), Account(options.key, options.secret))
    except (OSError, OverflowError) as error:
        print("bybit_sim: cannot listen on %s:%d: %s; choose another --port" % (options.host, options.port, error), file=sys.stderr)
        return 1
    print("bybit_sim: listening on %s" % server.url, flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        return 0
    finally:
        server.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
