"""Recent trades: an unmodified ccxt against the lab's venue over loopback."""

from __future__ import annotations

import time

import pytest

from andon import venue_runner, venue_trades
from andon.venues import Run
from tests.support.venue import entry as venue_entry


def entry(server, **more):
    return venue_entry(server, **{"timeout_s": 15, **more})


def traded(server, ago, **more):
    return server.account.execute({"symbol": "BTCUSDT", "execTime": str(int(1000 * (time.time() - ago))), **more})


def one(server, since, budget=30.0, **more):
    (row,) = venue_trades.read(Run([entry(server, **more)]), since, budget)
    return row


def test_trades_come_in_one_form_with_the_venues_own_profit_and_loss(venue):
    now = time.time()
    traded(venue, 7200, execPnl="-99")
    traded(venue, 60, side="Sell", execPrice="101", execQty="0.5", execPnl="-12.5", orderLinkId="bot-1", execFee="0.03")
    row = one(venue, now - 3600)
    (trade,) = row["trades"]
    assert row["verdict"] == "OK" and row["cut_off"] == []
    assert trade.pop("at") == pytest.approx(now - 60, abs=0.01) and trade.pop("id") and trade.pop("order")
    assert trade == {
        "client_id": "bot-1",
        "symbol": "BTC/USDT:USDT",
        "side": "sell",
        "amount": 0.5,
        "price": 101.0,
        "cost": 50.5,
        "fee": {"cost": 0.03, "currency": "USDT"},
        "pnl": -12.5,
        "currency": "USDT",
    }


def test_pages_are_followed_to_their_end_and_elsewhere_a_full_one_is_cut_off(venue, monkeypatch):
    for number in range(205):
        traded(venue, 300 - number, execPnl="1")
    row = one(venue, time.time() - 3600)
    assert row["verdict"] == "OK" and len(row["trades"]) == 205 and len({t["id"] for t in row["trades"]}) == 205
    monkeypatch.setattr(venue_trades, "CURSORS", {})
    row = one(venue, time.time() - 3600)
    assert row["verdict"] == "UNKNOWN" and "the list was full (100 trades)" in row["why"]
    assert len(row["trades"]) == 100, "what was seen is shown all the same"
    monkeypatch.setattr(venue_trades, "CURSORS", {"bybit": ("nextPageCursor", "cursor")})
    monkeypatch.setattr(venue_trades, "PAGES", 2)
    assert "more than 2 pages" in one(venue, time.time() - 3600)["why"]


def test_only_our_prefix_our_symbols_and_each_trade_once(venue):
    traded(venue, 50, orderLinkId="bot-1")
    traded(venue, 40, orderLinkId="other-1")
    traded(venue, 30, symbol="ETHUSDT", orderLinkId="bot-2")
    row = one(venue, time.time() - 3600, prefix="bot-", symbols=["BTC/USDT:USDT"], sections=[])
    assert [t["client_id"] for t in row["trades"]] == ["bot-1"] and row["foreign"] == 1
    twice = one(venue, time.time() - 3600, sections=[{"type": "swap"}, {"type": "swap", "settleCoin": "USDT"}])
    assert len(twice["trades"]) == 3


@pytest.mark.parametrize(
    ("fault", "words"), [("down", "NetworkError"), ("bad_key", "AuthenticationError"), ("error500", "ExchangeNotAvailable"), ("slow", "no answer")]
)
def test_a_venue_that_does_not_answer_has_unknown_trades_and_never_none(venue, fault, words):
    traded(venue, 50)
    venue.account.faults[fault] = 30 if fault == "slow" else 1
    row = one(venue, time.time() - 3600, budget=1.5 if fault == "slow" else 30.0)
    assert row["verdict"] == "UNKNOWN" and row["trades"] == []
    assert words in row["why"] or fault == "slow" and "Timeout" in row["why"]


def test_hostile_numbers_and_words_are_inert(venue):
    traded(venue, 50, execPnl="NaN", orderLinkId="x\x1b[2J\u202e", execFee="")
    (trade,) = one(venue, time.time() - 3600)["trades"]
    assert trade["pnl"] is None and trade["client_id"] == "x"
    assert venue_trades.number("1e999") is None and venue_trades.number({}) is None


def test_the_process_of_its_own_reads_and_changes_nothing(venue):
    traded(venue, 50, execPnl="3")
    bad = {"name": "bad", "ccxt": "nowhere", "sections": [{}]}
    rows = venue_runner.call({"task": "trades", "config": [entry(venue), bad], "since": time.time() - 3600, "budget": 30.0})
    assert [r["verdict"] for r in rows] == ["OK", "REFUSED"] and rows[0]["trades"][0]["pnl"] == 3.0
    assert not [path for path, _ in venue.account.calls if "cancel" in path or "create" in path]
