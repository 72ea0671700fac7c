"""The market behind the simulated venue, through an unmodified ccxt: what a trading program relies on."""

from __future__ import annotations

import time

import ccxt
import pytest

from lab.bybit_market import Market
from tests.support.venue import serving

BTC = "BTC/USDT:USDT"


@pytest.fixture
def market():
    with serving(Market("KEY-1", "SECRET-1")) as server:
        yield server


@pytest.fixture
def client(market):
    urls = {"api": dict.fromkeys(("spot", "futures", "v2", "public", "private"), market.url)}
    options = {"fetchMarkets": {"types": ["linear"]}}
    return ccxt.bybit({"apiKey": "KEY-1", "secret": "SECRET-1", "urls": urls, "enableRateLimit": False, "options": options, "timeout": 10_000})


def asked(client, number):
    return client.fetch_order(number, BTC, {"acknowledged": True})


def test_a_limit_order_is_filled_when_the_price_comes_and_makes_a_position(client, market):
    number = client.create_order(BTC, "limit", "buy", 0.01, 59_000)["id"]
    assert asked(client, number)["status"] == "open" and client.fetch_positions([BTC]) == []
    market.account.move("BTCUSDT", 58_990)
    order = asked(client, number)
    assert (order["status"], order["filled"], order["average"]) == ("closed", 0.01, 59_000)
    (position,) = client.fetch_positions([BTC])
    assert (position["side"], position["contracts"], position["entryPrice"]) == ("long", 0.01, 59_000)
    client.create_order(BTC, "market", "buy", 0.01)
    assert client.fetch_positions([BTC])[0]["entryPrice"] == 58_995, "the average of both"
    client.create_order(BTC, "market", "sell", 0.05)
    (position,) = client.fetch_positions([BTC])
    assert (position["side"], position["contracts"], position["entryPrice"]) == ("short", 0.03, 58_990), "turned around, at the new price"
    assert [trade["amount"] for trade in client.fetch_my_trades(BTC)] == [0.01, 0.01, 0.05]


def test_a_stop_is_triggered_once_and_reduces_only(client, market):
    stop = {"triggerPrice": 50_000, "triggerDirection": "descending", "reduceOnly": True}
    with pytest.raises(ccxt.InvalidOrder, match="110017"):
        client.create_order(BTC, "market", "sell", 0.01, None, stop)
    client.create_order(BTC, "market", "buy", 0.01)
    number = client.create_order(BTC, "market", "sell", 0.5, None, stop)["id"]
    assert asked(client, number)["status"] == "open"
    market.account.move("BTCUSDT", 49_000)
    assert (asked(client, number)["status"], asked(client, number)["filled"]) == ("closed", 0.01) and client.fetch_positions([BTC]) == []
    client.create_order(BTC, "market", "buy", 0.01)
    number = client.create_order(BTC, "limit", "buy", 0.01, 40_000)["id"]
    client.cancel_order(number, BTC)
    assert asked(client, number)["status"] == "canceled"
    with pytest.raises(ccxt.OrderNotFound):
        client.cancel_order(number, BTC)


def test_candles_end_now_and_a_wrong_signature_opens_nothing(client, market):
    candles = client.fetch_ohlcv(BTC, "1m", limit=10)
    assert len(candles) == 10 and {b[0] - a[0] for a, b in zip(candles, candles[1:], strict=False)} == {60_000}
    assert 0 <= time.time() - candles[-1][0] / 1000 < 120 and set(candles[-1][1:5]) == {60_000}
    book = client.fetch_order_book(BTC)
    assert book["bids"][0][0] < 60_000 < book["asks"][0][0] and client.fetch_ticker(BTC)["last"] == 60_000
    assert client.fetch_leverage_tiers()[BTC][0]["maxLeverage"] == 100
    client.secret = "WRONG"
    with pytest.raises(ccxt.AuthenticationError):
        client.create_order(BTC, "market", "buy", 0.01)
    assert market.account.open() == [] and market.account.size("BTCUSDT") == 0
