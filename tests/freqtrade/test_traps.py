"""What Freqtrade's API says and what then happens: each trap of the adapter's table, shown on the real program.

One process per test, since a start costs seconds; a test walks through what belongs together.
"""

from __future__ import annotations

import base64
import json
import signal
import sqlite3
import time

import pytest

from tests.freqtrade.conftest import BTC, ETH, PASSWORD, USER, until


def created(venue):
    """The orders that were sent so far, whatever became of them."""
    return [asked for path, asked in list(venue.account.calls) if path == "/v5/order/create"]


def open_ids(venue):
    return {order["orderId"] for order in venue.account.open()}


def entries(venue):
    return [order for order in venue.account.open() if not order["reduceOnly"]]


def stops(venue):
    return [order for order in venue.account.open() if order["reduceOnly"]]


def filled(bot, venue, *symbols):
    """Fills the resting entries and waits until Freqtrade has seen it and its stops are at the venue."""
    for symbol in symbols:
        price = venue.account.prices[symbol]
        venue.account.move(symbol, price - 1)
        venue.account.move(symbol, price)
    until(lambda: {o["symbol"] for o in stops(venue)} >= set(symbols), "the stops at the venue")
    until(lambda: all(t["amount"] > 0 for t in bot.trades() if t["base_currency"] + "USDT" in symbols), "the fills in /status")


def test_an_acknowledged_stop_still_sends_orders(freqtrade, venue):
    bot = freqtrade(initial_state="stopped")
    begun = time.time()

    # Stopped: what the API refuses, and what it says of its health.
    assert {bot.get("/health")[name] for name in ("last_process", "last_process_ts")} == {None}
    assert bot.call("GET", "/stop").status == 404, "control is POST only"
    refused = bot.post("/forceexit", {"tradeid": "all"})
    assert refused.status == 502 and "trader is not running" in refused.data["error"]
    refused = bot.call("DELETE", "/trades/1/open-order")
    assert refused.status == 502 and "trader is not running" in refused.data["error"]

    # Who may ask: /ping is open, nothing else; a refresh token opens nothing.
    assert bot.call("GET", "/ping", token="").status == 200
    assert bot.call("GET", "/show_config", token="").status == 401
    basic = base64.b64encode(f"{USER}:wrong".encode()).decode()
    assert bot.call("POST", "/stop", token="Basic " + basic).status == 401
    tokens = bot.post("/token/login").data
    assert bot.call("GET", "/show_config", token="Bearer " + tokens["access_token"]).status == 200
    assert bot.call("GET", "/show_config", token="Bearer " + tokens["refresh_token"]).status == 401
    assert bot.call("POST", "/token/refresh", token="Bearer " + tokens["refresh_token"]).data["access_token"]
    shown = bot.get("/show_config")
    assert shown["state"] == "stopped" and shown["dry_run"] is False and shown["stoploss_on_exchange"] is True
    assert PASSWORD not in json.dumps(shown) and venue.account.secret not in json.dumps(shown)

    # Pause starts a bot that was stopped.
    assert bot.post("/pause").status == 200
    assert bot.state == "paused"
    bot.changed("PAUSED", begun)
    for name in ("/stopentry", "/stopbuy"):
        assert bot.post(name).status == 200 and bot.state == "paused", "the same handler"
    assert bot.post("/stop").status == 200
    bot.changed("STOPPED", begun)
    assert created(venue) == []

    # Every answer of the venue is late: the loop is in the middle of an entry when the stop is acknowledged.
    def stopped_in_the_middle(lock):
        venue.account.faults["slow"] = 0.5
        seen, asked = len(venue.account.calls), time.time()
        assert bot.post("/start").status == 200
        until(lambda: "/v5/position/set-leverage" in [path for path, _ in list(venue.account.calls)[seen:]] or len(created(venue)) > sent, "the first entry")
        if lock:
            bot.lock()
        answer = bot.post("/stop")
        at_ack = len(created(venue))
        assert answer.status == 200 and bot.state == "stopped", "it says at once that it has stopped"
        assert not bot.logged("to: STOPPED", asked), "and has not"
        bot.changed("STOPPED", asked)
        venue.account.faults.clear()
        return len(created(venue)) - at_ack

    sent = 0
    after = stopped_in_the_middle(lock=False)
    assert after >= 1, "orders went out after the acknowledgement"
    assert len(created(venue)) == 2, "the loop went on to the next pair"

    # The trades and their orders can be deleted in any state.
    for trade in bot.trades():
        assert bot.call("DELETE", f"/trades/{trade['trade_id']}").status == 200
    assert venue.account.open() == [] and bot.trades() == []

    # With a lock as well, only the order that was on its way already goes out.
    sent = len(created(venue))
    stopped_in_the_middle(lock=True)
    assert len(created(venue)) - sent == 1

    # Killed while the venue has not answered yet: the order rests, and it is in nobody's book.
    for trade in bot.trades():
        assert bot.call("DELETE", f"/trades/{trade['trade_id']}").status == 200
    for row in bot.get("/locks")["locks"]:
        assert bot.call("DELETE", f"/locks/{row['id']}").status == 200
    assert venue.account.open() == []
    venue.account.faults["slow"], seen = 0.5, len(venue.account.calls)
    assert bot.post("/start").status == 200
    until(lambda: "/v5/position/set-leverage" in [path for path, _ in list(venue.account.calls)[seen:]], "the entry to begin")
    venue.account.faults["slow"] = 60
    until(venue.account.open, "the order to be at the venue")
    assert bot.end(signal.SIGKILL) == -signal.SIGKILL and len(venue.account.open()) == 1
    with sqlite3.connect(bot.folder / "trades.sqlite") as book:
        assert book.execute("select count(*) from trades").fetchone() == (0,)


def test_what_the_codes_of_cancels_and_exits_are_worth(freqtrade, venue):
    bot = freqtrade(stake_amount=400)
    until(lambda: len(entries(venue)) == 2, "an entry in each market")
    bot.lock()
    rows = bot.trades()
    assert [(t["amount"], t["has_open_orders"]) for t in rows] == [(0, True)] * 2, "an open trade may be an order that nobody filled"
    assert {o["order_id"] for t in rows for o in t["orders"] if o["is_open"]} == open_ids(venue)
    assert bot.get("/trades")["trades"] == [], "/trades has closed ones only"

    foreign = venue.account.place({"symbol": "BTCUSDT", "side": "Buy", "price": "100", "qty": "0.01"})["orderId"]

    # Cancels: the codes say the opposite of what happened. A venue that says OK and does nothing, and one that says "too late to cancel".
    resting = open_ids(venue)
    number = bot.trade(BTC)["trade_id"]
    for fault in ({"lie_cancel": 1}, {"reject_cancel": 110001}):
        venue.account.faults = dict(fault)
        answer = bot.call("DELETE", f"/trades/{number}/open-order")
        assert answer.status == 200 and open_ids(venue) == resting, "200, and the order still rests"
        answer = bot.post("/forceexit", {"tradeid": "all", "ordertype": "market"})
        assert answer.status == 200 and "Created exit orders for all open trades" in answer.data["result"] and open_ids(venue) == resting, "200, and no exit"
        answer = bot.post("/forceexit", {"tradeid": str(number), "ordertype": "market"})
        assert answer.status == 502 and "Failed to exit trade" in answer.data["error"] and open_ids(venue) == resting
    # A refusal of another class is no answer of Freqtrade's at all.
    venue.account.faults = {"reject_cancel": 10016}
    answer = bot.call("DELETE", f"/trades/{number}/open-order")
    assert answer.status == 500 and answer.data is None and open_ids(venue) == resting
    venue.account.faults.clear()
    answer = bot.call("DELETE", f"/trades/{bot.trade(BTC)['trade_id']}/open-order")
    assert answer.status == 502 and {o["symbol"] for o in entries(venue) if o["orderId"] != foreign} == {"ETHUSDT"}, "502, and the order is gone"
    assert foreign in open_ids(venue), "what it did not place it does not see"
    venue.account.cancel({"orderId": foreign, "symbol": "BTCUSDT", "category": "linear"})
    answer = bot.call("DELETE", "/trades/999/open-order")
    assert answer.status == 502

    # Exits: the first failure ends them all. BTC's position vanishes at the venue.
    for lock in bot.get("/locks")["locks"]:
        assert bot.call("DELETE", f"/locks/{lock['id']}").status == 200
    until(lambda: len(entries(venue)) == 2, "BTC is entered again")
    bot.lock()
    filled(bot, venue, "BTCUSDT", "ETHUSDT")
    (first, second) = sorted(bot.trades(), key=lambda t: t["trade_id"])
    ghost, other = (t["base_currency"] + "USDT" for t in (first, second))
    venue.account.hold({"symbol": ghost, "size": "0"})
    assert bot.trade(first["pair"])["amount"] > 0, "Freqtrade knows nothing of it"
    assert bot.post(f"/trades/{first['trade_id']}/reload").status == 200
    assert bot.trade(first["pair"])["amount"] > 0, "and a reload of the trade does not repair it"
    size = venue.account.size(other)
    answer = bot.post("/forceexit", {"tradeid": "all", "ordertype": "market"})
    assert answer.status == 500 and answer.data is None, "plain text, not JSON"
    assert venue.account.size(other) == size > 0, "the other position was not touched"
    assert bot.post("/forceexit", {"tradeid": str(second["trade_id"]), "ordertype": "market", "amount": float(size) / 2}).status == 200
    until(lambda: 0 < venue.account.size(other) < size and not bot.trade(second["pair"])["has_open_orders"], "a part of it is closed")
    assert bot.post("/forceexit", {"tradeid": str(second["trade_id"]), "ordertype": "market"}).status == 200
    until(lambda: venue.account.size(other) == 0, "the other position is closed by its own id")

    # The way to clear a ghost; and the closed trade shows in /trades.
    assert bot.call("DELETE", f"/trades/{first['trade_id']}").status == 200
    until(lambda: bot.trades() == [], "no open trade")
    (closed,) = until(lambda: bot.get("/trades")["trades"], "the closed trade")
    assert closed["pair"] == second["pair"] and closed["exit_reason"] == "force_exit" and closed["close_profit_abs"] is not None
    assert bot.post("/forceexit", {"tradeid": "all"}).status == 200, "with nothing open too"


def test_health_is_green_with_the_venue_gone(freqtrade, venue):
    bot = freqtrade()
    until(lambda: len(entries(venue)) == 2, "an entry in each market")
    bot.lock()
    filled(bot, venue, "BTCUSDT", "ETHUSDT")

    # What triage may read.
    assert {"state", "dry_run", "runmode", "exchange", "trading_mode", "max_open_trades", "strategy", "force_entry_enable"} <= set(bot.get("/show_config"))
    assert {"trade_id", "pair", "is_short", "amount", "open_rate", "current_rate", "profit_abs", "leverage", "liquidation_price"} <= set(bot.trade(BTC))
    assert {"profit_all_coin", "trade_count", "max_drawdown", "current_drawdown", "bot_start_timestamp"} <= set(bot.get("/profit"))
    assert {"current", "max", "total_stake"} <= set(bot.get("/count"))
    assert [row["position"] for row in bot.get("/balance")["currencies"] if row["is_position"]], "the positions are in the balance"

    def loops(count):
        """Waits for so many rounds of the loop and looks at what the health check says after them."""
        before = bot.get("/health")["last_process_ts"]
        until(lambda: bot.get("/health")["last_process_ts"] >= before + count, "the loop to go on")
        assert bot.call("GET", "/ping").data == {"status": "pong"}
        for path in ("/status", "/balance", "/profit", "/count", "/performance", "/daily", "/sysinfo", "/trades"):
            assert bot.call("GET", path).status == 200, path
        assert bot.state == "running"

    for fault in ("down", "error500", "bad_key", "skew"):
        asked = time.time()
        venue.account.faults = {fault: 60.0}
        loops(3)
        if fault == "bad_key":
            answer = bot.post("/forceexit", {"tradeid": str(bot.trade(BTC)["trade_id"]), "ordertype": "market"})
            assert answer.status == 500 and venue.account.size("BTCUSDT") > 0, "the first sign of a revoked key is the exit that fails"
        if fault == "down":
            until(lambda: bot.logged("NetworkError", asked) or bot.logged("ExchangeNotAvailable", asked), "the log to say so")
    venue.account.faults = {}

    # What was traded elsewhere is not seen.
    venue.account.hold({"symbol": "BTCUSDT", "side": "Sell", "size": "0.5"})
    loops(2)
    assert bot.trade(BTC)["is_short"] is False and bot.trade(BTC)["amount"] > 0

    # Stopped, the loop is not run: what fills in the meantime is not seen, and the stops at the venue stay.
    asked = time.time()
    assert bot.post("/stop").status == 200
    bot.changed("STOPPED", asked)
    last, resting = bot.get("/health")["last_process_ts"], open_ids(venue)
    venue.account.move("ETHUSDT", 1000)
    assert venue.account.size("ETHUSDT") == 0, "the stop at the venue did its work"
    time.sleep(0.2)
    assert bot.get("/health")["last_process_ts"] == last and bot.trade(ETH)["amount"] > 0
    assert open_ids(venue) < resting


def test_what_survives_a_restart_and_a_reload(freqtrade, venue):
    bot = freqtrade(initial_state="running")
    until(lambda: len(entries(venue)) == 2, "an entry in each market")
    resting, asked = open_ids(venue), time.time()

    def reloaded():
        since = time.time()
        assert bot.post("/reload_config").status == 200

        def back():
            try:
                return bot.logged("from RELOAD_CONFIG to:", since) and bot.get("/show_config")
            except OSError:
                return None

        return until(back, "Freqtrade to be back")

    # A stop does not survive a reload, nor a restart; a lock survives both.
    assert bot.post("/stop").status == 200
    bot.changed("STOPPED", asked)
    number = bot.lock()
    (row,) = bot.get("/locks")["locks"]
    assert row["lock_end_timestamp"] % 60_000 == 0 and row["lock_end_timestamp"] / 1000 > time.time() + 3500, "rounded up to a candle"
    token = "Bearer " + bot.post("/token/login").data["access_token"]
    assert reloaded()["state"] == "running"
    assert [row["id"] for row in bot.get("/locks")["locks"]] == [number]
    assert bot.post("/stop").status == 200
    bot.changed("STOPPED", asked)
    assert bot.end() == 130 and open_ids(venue) == resting, "cancel_open_orders_on_exit is off unless it is set"
    bot.start()
    assert bot.state == "running" and [row["id"] for row in bot.get("/locks")["locks"]] == [number]
    assert bot.call("GET", "/show_config", token=token).status == 200, "tokens are signed and not stored: they outlive the process"

    # Smaller, by the second file: paused, with the size in it.
    bot.overlay.write_text(json.dumps({"stake_amount": 20, "max_open_trades": 1, "initial_state": "paused"}))
    shown = reloaded()
    assert (shown["state"], float(shown["stake_amount"]), shown["max_open_trades"]) == ("paused", 20.0, 1)
    assert bot.call("DELETE", f"/locks/{number}").status == 200 and bot.get("/locks")["locks"] == []
    assert bot.post("/start").status == 200 and bot.state == "running"
    assert "already running" in bot.post("/start").data["status"]

    # A broken file ends the process, with the exit code of success: no restart policy "on-failure" brings it back.
    bot.overlay.write_text("{broken")
    assert bot.post("/reload_config").status == 200
    assert bot.process.wait(90) == 0
    assert open_ids(venue) == resting


def test_what_is_left_resting_when_the_process_ends(freqtrade, venue):
    bot = freqtrade(cancel_open_orders_on_exit=True)
    until(lambda: len(entries(venue)) == 2, "an entry in each market")
    bot.lock()
    filled(bot, venue, "ETHUSDT")
    asked = time.time()

    # With the setting, /stop cancels the entries; the stops at the venue stay.
    protective = {o["orderId"] for o in stops(venue)}
    assert bot.post("/stop").status == 200
    bot.changed("STOPPED", asked)
    until(lambda: open_ids(venue) == protective, "the entries are cancelled and the stops kept")

    # Frozen, as `docker pause` does it: connections are taken and nothing answers; it goes on where it was.
    bot.process.send_signal(signal.SIGSTOP)
    with pytest.raises(TimeoutError):
        bot.call("GET", "/ping", timeout=0.5)
    bot.process.send_signal(signal.SIGCONT)
    until(lambda: bot.call("GET", "/ping").status == 200, "it answers again")

    # So does SIGTERM.
    for lock in bot.get("/locks")["locks"]:
        bot.call("DELETE", f"/locks/{lock['id']}")
    assert bot.post("/start").status == 200
    until(lambda: [t for t in bot.trades() if t["has_open_orders"] and t["pair"] == BTC], "BTC is entered again")
    assert bot.end() == 130 and open_ids(venue) == protective

    # A venue that hangs: whoever waits for a few seconds and then kills, as `docker stop -t` does, leaves the orders where they are.
    bot.start()
    until(lambda: [t for t in bot.trades() if t["has_open_orders"] and t["pair"] == BTC], "BTC is entered again")
    resting = open_ids(venue)
    venue.account.faults["slow_cancel"] = 600
    venue.account.faults["lie_cancel"] = 1
    seen = len(venue.account.calls)
    bot.process.send_signal(signal.SIGTERM)
    until(lambda: "/v5/order/cancel" in [path for path, _ in list(venue.account.calls)[seen:]], "it tries to cancel")
    assert bot.process.poll() is None
    assert bot.end(signal.SIGKILL) == -signal.SIGKILL and open_ids(venue) == resting
