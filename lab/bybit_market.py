"""The simulated venue of bybit_sim.py with a market behind it: prices, candles, fills, positions and a history of orders.

A whole trading program runs on it, not only a client that cancels: everything that Freqtrade asks of Bybit's v5 API for linear
futures with isolated margin is here, on top of what bybit_sim.py answers.

    GET  /v5/market/tickers  /v5/market/orderbook  /v5/market/kline  /v5/market/mark-price-kline
    GET  /v5/market/funding/history  /v5/market/risk-limit
    GET  /v5/order/realtime (by id, closed orders too)  /v5/order/history  /v5/execution/list
    POST /v5/position/switch-mode  /v5/position/set-leverage  /v5/account/set-margin-mode

A market order is filled at once, a limit order when the price reaches it, a conditional order becomes a market order when the
price reaches its trigger; all at one price and in full. The price of a market only moves when `move` is called. Reduce-only orders
without a position of the other side are refused, as the venue does. One-way mode only; no margin is computed.

Standard library only, Python 3.11 or newer.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from lab.bybit_sim import MARKETS, Account, Refused

PRICES = {"BTCUSDT": Decimal(60_000), "ETHUSDT": Decimal(3_000)}
TICK = Decimal("0.5")
FEE = Decimal("0.00055")  # of the value, for every fill
WALLET = Decimal(100_000)  # USDT
MINUTE = 60_000  # milliseconds
MONTH, WEEK, DAY = "M", "W", "D"
MINUTES = {DAY: 1440, WEEK: 10080, MONTH: 43200}
CANDLES, CANDLES_MOST = 200, 1000  # in one answer
FUNDING = 8 * 60 * MINUTE  # a rate every eight hours


def plain(value: Decimal) -> str:
    """A number as the API writes it: no exponent, no zeros at the end."""
    return format(value.normalize(), "f")


class Market(Account):
    """One account and the prices it trades at. Thread-safe."""

    def __init__(self, key: str, secret: str) -> None:
        super().__init__(key, secret)
        self.prices = dict(PRICES)
        self.ended: dict[str, dict[str, Any]] = {}
        self.executions: list[dict[str, Any]] = []
        self._held: dict[str, tuple[Decimal, Decimal]] = {}  # symbol -> (size, below zero when short; average price)
        self._leverage: dict[str, str] = {}

    # What a test does to the market

    def move(self, symbol: str, price: float | str) -> None:
        """Sets a price (in USDT) and fills and triggers what it reaches."""
        with self._lock:
            self.prices[symbol] = Decimal(str(price))
            for order in [o for o in self.open() if o["symbol"] == symbol and o["category"] == "linear"]:
                self._meet(order)

    def hold(self, position: Mapping[str, Any]) -> None:
        """Sets a position whatever was traded: {"symbol", "side", "size", "avgPrice"}. Size 0 makes it vanish."""
        size = Decimal(str(position["size"])) * (1 if position.get("side", "Buy") == "Buy" else -1)
        with self._lock:
            self._set(str(position["symbol"]), size, Decimal(str(position.get("avgPrice", self.prices[str(position["symbol"])]))))

    def size(self, symbol: str) -> Decimal:
        """The position in base units, below zero when short."""
        return self._held.get(symbol, (Decimal(0), Decimal(0)))[0]

    # Orders

    def place(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        with self._lock:
            if asked.get("reduceOnly") and str(asked.get("category", "linear")) == "linear":
                size = self.size(str(asked.get("symbol")))
                if size == 0 or (size > 0) == (asked.get("side") == "Buy"):
                    raise Refused(110017, "current position is zero, cannot fix reduce-only order qty")
            order = super().place(asked)
            if order["category"] == "linear":
                self._meet(order)
            return order

    def _meet(self, order: dict[str, Any]) -> None:
        """Triggers and fills an open order as far as the price allows."""
        price, buys = self.prices[order["symbol"]], order["side"] == "Buy"
        if order["orderStatus"] == "Untriggered":
            trigger, rising = Decimal(order["triggerPrice"]), order["triggerDirection"] == 1
            if (price < trigger) if rising else (price > trigger):
                return
        if order["orderType"] == "Market":
            self._fill(order, price)
        elif price <= Decimal(order["price"]) if buys else price >= Decimal(order["price"]):
            self._fill(order, Decimal(order["price"]))

    def _fill(self, order: dict[str, Any], price: Decimal) -> None:
        qty = Decimal(order["qty"])
        if order["reduceOnly"]:
            qty = min(qty, abs(self.size(order["symbol"])))
        if qty == 0:
            self._end(order, "Rejected")
            return
        fee, stamp = qty * price * FEE, str(self.now())
        order.update(
            cumExecQty=plain(qty), cumExecValue=plain(qty * price), avgPrice=plain(price), leavesQty="0", updatedTime=stamp, cumFeeDetail={"USDT": plain(fee)}
        )
        self._end(order, "Filled")
        self.executions.append(
            {
                **{name: order[name] for name in ("category", "symbol", "orderId", "orderLinkId", "side", "orderType")},
                "execId": "e%08d" % (len(self.executions) + 1),
                "execPrice": plain(price),
                "execQty": plain(qty),
                "execValue": plain(qty * price),
                "execFee": plain(fee),
                "feeRate": plain(FEE),
                "execTime": stamp,
                "execType": "Trade",
                "isMaker": order["orderType"] == "Limit",
            }
        )
        old, average = self._held.get(order["symbol"], (Decimal(0), price))
        new = old + (qty if order["side"] == "Buy" else -qty)
        if old == 0 or old * new < 0:
            average = price
        elif abs(new) > abs(old):
            average = (average * abs(old) + price * qty) / abs(new)
        self._set(order["symbol"], new, average)

    def _set(self, symbol: str, size: Decimal, average: Decimal) -> None:
        if size:
            self._held[symbol] = (size, average)
        else:
            self._held.pop(symbol, None)

    def _end(self, order: dict[str, Any], status: str) -> None:
        super()._end(order, status)
        order["leavesQty"] = "0"
        self.ended[order["orderId"]] = order

    # The API

    def _position(self, symbol: str) -> dict[str, Any]:
        size, average = self._held[symbol]
        price = self.prices[symbol]
        return {
            "positionIdx": 0,
            "symbol": symbol,
            "side": "Buy" if size > 0 else "Sell",
            "size": plain(abs(size)),
            "avgPrice": plain(average),
            "positionValue": plain(abs(size) * average),
            "positionIM": plain(abs(size) * average / Decimal(self._leverage.get(symbol, "1"))),
            "leverage": self._leverage.get(symbol, "1"),
            "markPrice": plain(price),
            "liqPrice": plain(average / 100) if size > 0 else plain(average * 2),
            "unrealisedPnl": plain((price - average) * size),
            "stopLoss": "",
            "takeProfit": "",
            "createdTime": str(self.now()),
            "updatedTime": str(self.now()),
        }

    def positions(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        with self._lock:
            rows = [self._position(s) for s in self._held if asked.get("symbol") in (None, s)] if asked.get("category") == "linear" else []
        return {"category": asked.get("category"), "list": rows, "nextPageCursor": ""}

    def realtime(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Open orders; one that is asked for by its id also when it has ended, as the venue does for recent ones."""
        if not asked.get("orderId"):
            return super().realtime(asked)
        with self._lock:
            known = {**self._orders, **self.ended}
            rows = [o for o in [known.get(str(asked["orderId"]))] if o and o["category"] == asked.get("category")]
        return {"category": asked["category"], "list": rows, "nextPageCursor": ""}

    def history(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        with self._lock:
            rows = [o for o in self.ended.values() if asked.get("symbol") in (None, o["symbol"]) and asked.get("orderId") in (None, o["orderId"])]
        return {"category": asked.get("category"), "list": rows[::-1], "nextPageCursor": ""}

    def fills(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        with self._lock:
            rows = [e for e in self.executions if asked.get("symbol") in (None, e["symbol"]) and asked.get("orderId") in (None, e["orderId"])]
        return {"category": asked.get("category"), "list": rows[::-1], "nextPageCursor": ""}

    def _ticker(self, symbol: str) -> dict[str, Any]:
        price = plain(self.prices[symbol])
        day = dict.fromkeys(("lastPrice", "indexPrice", "markPrice", "prevPrice24h", "highPrice24h", "lowPrice24h", "prevPrice1h"), price)
        return {
            "symbol": symbol,
            **day,
            "price24hPcnt": "0",
            "openInterest": "1000",
            "openInterestValue": "1000000",
            "turnover24h": "100000000",
            "volume24h": "10000",
            "fundingRate": "0.0001",
            "nextFundingTime": str((self.now() // FUNDING + 1) * FUNDING),
            "bid1Price": plain(self.prices[symbol] - TICK),
            "bid1Size": "10",
            "ask1Price": plain(self.prices[symbol] + TICK),
            "ask1Size": "10",
        }

    def _symbol(self, asked: Mapping[str, Any]) -> str:
        if asked.get("symbol") not in self.prices or asked.get("category") != "linear":
            raise Refused(10001, "params error: symbol invalid")
        return str(asked["symbol"])

    def tickers(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        symbols = [self._symbol(asked)] if asked.get("symbol") else list(self.prices) if asked.get("category") == "linear" else []
        return {"category": asked.get("category"), "list": [self._ticker(s) for s in symbols]}

    def orderbook(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        price, steps = self.prices[self._symbol(asked)], range(1, 11)
        bids, asks = ([[plain(price + sign * TICK * n), "10"] for n in steps] for sign in (-1, 1))
        return {"s": asked["symbol"], "b": bids, "a": asks, "ts": self.now(), "u": 1}

    def kline(self, asked: Mapping[str, Any], volume: bool = True) -> dict[str, Any]:
        """Candles that end now, newest first, all at the price of now: the last one may be unfinished, as at the venue."""
        price, interval = plain(self.prices[self._symbol(asked)]), str(asked.get("interval", "1"))
        step = (MINUTES.get(interval) or int(interval)) * MINUTE
        limit = min(int(asked.get("limit", CANDLES)), CANDLES_MOST)
        last = min(int(asked.get("end", self.now())), self.now()) // step
        first = max(-(-int(asked.get("start", 0)) // step), last - limit + 1)
        candle = [price] * 4 + (["10", "100000"] if volume else [])
        return {"category": "linear", "symbol": asked["symbol"], "list": [[str(n * step), *candle] for n in range(last, first - 1, -1)]}

    def funding(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        symbol = self._symbol(asked)
        last = min(int(asked.get("endTime", self.now())), self.now()) // FUNDING
        first = max(-(-int(asked.get("startTime", 0)) // FUNDING), last - min(int(asked.get("limit", 200)), 200) + 1)
        rows = [{"symbol": symbol, "fundingRate": "0.0001", "fundingRateTimestamp": str(n * FUNDING)} for n in range(last, first - 1, -1)]
        return {"category": "linear", "list": rows}

    def risk_limit(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        tier = {"id": 1, "riskLimitValue": "2000000", "maintenanceMargin": "0.005", "initialMargin": "0.01", "isLowestRisk": 1, "maxLeverage": "100"}
        rows = [{**tier, "symbol": m["symbol"]} for m in MARKETS["linear"] if asked.get("symbol") in (None, m["symbol"])]
        return {"category": asked.get("category"), "list": rows, "nextPageCursor": ""}

    def set_leverage(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        symbol, wanted = self._symbol(asked), plain(Decimal(str(asked.get("buyLeverage"))))
        with self._lock:
            if self._leverage.get(symbol) == wanted:
                raise Refused(110043, "leverage not modified")
            self._leverage[symbol] = wanted
        return {}

    def wallet(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        with self._lock:
            used = sum((Decimal(self._position(s)["positionIM"]) for s in self._held), Decimal(0))
        coin = {"coin": "USDT", "walletBalance": plain(WALLET), "equity": plain(WALLET), "locked": "0", "totalPositionIM": plain(used), "totalOrderIM": "0"}
        return {"list": [{"accountType": "UNIFIED", "coin": [coin]}]}

    def created(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        order = self.place(asked)
        return {"orderId": order["orderId"], "orderLinkId": order["orderLinkId"]}  # no more: what became of it has to be asked for

    def answer(self, path: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        acts = {
            "/v5/market/tickers": self.tickers,
            "/v5/market/orderbook": self.orderbook,
            "/v5/market/kline": self.kline,
            "/v5/market/mark-price-kline": lambda a: self.kline(a, volume=False),
            "/v5/market/funding/history": self.funding,
            "/v5/market/risk-limit": self.risk_limit,
            "/v5/position/list": self.positions,
            "/v5/position/switch-mode": lambda a: {},
            "/v5/position/set-leverage": self.set_leverage,
            "/v5/account/set-margin-mode": lambda a: {"reasons": []},
            "/v5/account/wallet-balance": self.wallet,
            "/v5/order/create": self.created,
            "/v5/order/history": self.history,
            "/v5/execution/list": self.fills,
        }
        return acts[path](asked) if path in acts else super().answer(path, asked)
