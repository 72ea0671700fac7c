"""Venues: an unmodified ccxt against the lab's venue over loopback, with every way in which a venue fails or lies."""

from __future__ import annotations

import json
import threading
import time

import pytest

from andon import venue_words, venues
from andon.venues import ConfigError, Run, parse, parse_all
from tests.support.venue import entry as venue_entry
from tests.support.venue import serving


def entry(server, name="main", **more):
    return venue_entry(server, **{"name": name, "timeout_s": 1, **more})


def place(server, count=1, **more):
    return [server.account.place({"symbol": "BTCUSDT", "price": "100", "orderLinkId": "bot-%d" % n, **more})["orderId"] for n in range(count)]


def stop_order(server, **more):
    """A protective stop of a long position: reduce-only and conditional."""
    asked = {"side": "Sell", "orderType": "Market", "price": "", "triggerPrice": "90", "triggerDirection": 2, "reduceOnly": True, **more}
    return place(server, 1, **asked)[0]


def one(server, *, cancel=True, status=False, budget=5.0, **more):
    (row,) = Run([entry(server, **more)]).once(cancel=cancel, status=status, budget=budget)
    return row


def asked(server, ending):
    return [call for path, call in server.account.calls if path.endswith(ending)]


def test_cancels_in_bulk_and_the_venues_own_list_is_the_proof(venue):
    ids = place(venue, 25)  # more than one page of the list
    place(venue, 1, symbol="ETHUSDT")
    row = one(venue)
    assert row["verdict"] == "CANCELLED" and row["remaining"] == [] and venue.account.open() == []
    assert set(ids) < set(row["gone"]) and row["listed"] == 26
    assert len(asked(venue, "/cancel-all")) == 1 and not asked(venue, "/cancel")
    assert venue.account.calls[-2][0] == "/v5/order/realtime", "the last thing before the positions is a list"


def test_stops_are_kept_and_nothing_is_cancelled_in_bulk_beside_them(venue):
    place(venue, 3)
    kept = stop_order(venue)
    venue.account.hold({"symbol": "BTCUSDT", "side": "Buy", "size": "0.02", "avgPrice": "100", "markPrice": "101", "positionValue": "2"})
    row = one(venue)
    assert row["verdict"] == "CANCELLED" and [o["orderId"] for o in venue.account.open()] == [kept] == [o["id"] for o in row["kept"]]
    assert not asked(venue, "/cancel-all"), "bybit's takes conditional orders with it"
    assert len(asked(venue, "/cancel-batch")) == 1
    assert row["positions"][0]["protected"] == "part" and row["unprotected"] == ["BTC/USDT:USDT"], "0.01 of 0.02 is not protection"
    stop_order(venue)
    assert one(venue)["positions"][0]["protected"] == "full"
    assert one(venue, keep_stops=False)["verdict"] == "CANCELLED" and venue.account.open() == []


def test_the_rest_of_a_partly_filled_order_is_cancelled_and_what_was_filled_is_a_position_without_a_stop(venue):
    (order,) = place(venue, 1)
    venue.account.fill(order, "0.004")
    assert one(venue, cancel=False)["remaining"][0]["remaining"] == 0.006
    row = one(venue)
    assert row["verdict"] == "CANCELLED" and row["gone"] == [order] and venue.account.open() == []
    assert [(p["contracts"], p["protected"]) for p in row["positions"]] == [(0.004, "none")] and row["unprotected"] == ["BTC/USDT:USDT"]


def test_what_takes_profit_protects_nothing(venue):
    venue.account.hold({"symbol": "BTCUSDT", "side": "Buy", "size": "0.01", "avgPrice": "100", "markPrice": "101", "positionValue": "1"})
    stop_order(venue, triggerPrice="120", triggerDirection=1)
    assert one(venue, cancel=False)["unprotected"] == ["BTC/USDT:USDT"]


def test_foreign_orders_are_never_touched_and_never_hide_ours(venue):
    foreign = place(venue, 60, orderLinkId="other")  # more than the greatest page
    place(venue, 2)
    row = one(venue, prefix="bot-")
    assert row["verdict"] == "CANCELLED" and row["foreign"] == 60 and len(row["gone"]) == 2
    assert [o["orderId"] for o in venue.account.open()] == foreign
    assert not asked(venue, "/cancel-all")


def test_only_named_symbols_and_sections_are_touched(venue):
    place(venue, 2)
    other = place(venue, 1, symbol="ETHUSDT") + place(venue, 1, category="spot")
    row = one(venue, symbols=["BTC/USDT:USDT"], sections=[])
    assert row["verdict"] == "CANCELLED" and [o["orderId"] for o in venue.account.open()] == other
    assert row["looked_at"] == ["BTC/USDT:USDT"], "the proof says what it speaks of"
    assert one(venue, sections=[{"type": "swap"}, {"type": "spot"}])["verdict"] == "CANCELLED" and venue.account.open() == []


def test_check_lists_and_changes_nothing(venue):
    ids = place(venue, 2)
    row = one(venue, cancel=False)
    assert row["verdict"] == "WOULD CANCEL" and [o["id"] for o in row["remaining"]] == ids
    assert not [path for path, _ in venue.account.calls if "cancel" in path] and len(venue.account.open()) == 2


@pytest.mark.parametrize(
    ("fault", "verdict", "words"), [("lie_cancel", "NOT CANCELLED", "said that it cancelled"), ("reject_cancel", "NOT CANCELLED", "refused")]
)
def test_a_cancel_that_is_answered_is_not_a_cancelled_order(venue, fault, verdict, words):
    ids = place(venue, 2)
    venue.account.faults[fault] = 1
    row = one(venue)
    assert row["verdict"] == verdict and words in row["why"] and [o["id"] for o in row["remaining"]] == ids
    assert len(asked(venue, "/cancel-all")) == 1, "what was refused or lied about is not sent again"
    assert sorted(call["orderId"] for call in asked(venue, "/cancel")) == ids, "each order once"


def test_a_cancel_without_an_answer_is_not_repeated_and_the_list_decides(venue):
    place(venue, 3)
    venue.account.faults["slow_cancel"] = 3
    row = one(venue, timeout_s=0.3)
    assert row["verdict"] == "CANCELLED", row["why"]
    assert [a["outcome"] for a in row["attempts"]] == ["unknown"] and len(asked(venue, "/cancel-all")) == 1


def test_orders_that_appear_after_the_cancel_are_gone_after_and_endless_ones_are_named(venue):
    place(venue, 2)
    venue.account.faults["appear"] = 2
    row = one(venue)
    assert row["verdict"] == "CANCELLED" and venue.account.open() == [] and len(row["gone"]) == 4
    place(venue, 1)
    venue.account.faults["appear"] = 1000
    row = one(venue)
    assert row["verdict"] == "NOT CANCELLED" and "1 of them new" in row["why"]


@pytest.mark.parametrize("fault", ["down", "error500", "bad_key", "skew", "rate_limit"])
def test_no_list_is_unknown_and_nothing_is_sent_blindly(venue, fault):
    place(venue, 1)
    run = Run([entry(venue)])
    assert run.once(cancel=False, budget=5)[0]["verdict"] == "WOULD CANCEL"
    venue.account.faults[fault] = 60
    row = run.once(cancel=True, budget=1)[0]
    assert row["verdict"] == "UNKNOWN" and row["why"].startswith("listing:") and row["remaining"] is None
    assert not [path for path, _ in venue.account.calls if "cancel" in path]
    assert "SECRET-1" not in json.dumps(row) and "KEY-1" not in json.dumps(row)


def test_a_venue_that_hangs_does_not_take_the_others_verdict(venue):
    with serving() as other:
        other.account.faults["slow"] = 30
        place(venue, 1)
        bad = {"name": "typo", "ccxt": "bybit", "simbols": ["x"]}
        rows = Run([entry(other, "hangs", timeout_s=30), entry(venue), bad]).once(cancel=True, budget=1.5)
        assert [row["verdict"] for row in rows] == ["UNKNOWN", "CANCELLED", "REFUSED"]
        assert "no answer in time" in rows[0]["why"] or "no proof within" in rows[0]["why"] or "RequestTimeout" in rows[0]["why"]
        found = venue_words.orders(rows)
        assert not found["ok"] and found["line"].startswith("ORDERS 1/3 venues CANCELLED, 1 REFUSED (typo: the key 'simbols'")


def test_the_last_passes_begin_after_the_hosts_are_stopped(venue, monkeypatch):
    released, rows, later, real = threading.Event(), [], [], time.sleep

    def sleep(seconds):
        if seconds == 0.123:  # between the two last passes: a request of a killed strategy arrives
            later.extend(place(venue, 1, orderLinkId="later"))
        real(0)

    monkeypatch.setattr(venues.time, "sleep", sleep)
    run = Run([entry(venue)])
    place(venue, 1)
    thread = threading.Thread(target=lambda: rows.extend(run.follow(released, cancel=True, budget=30, again=0.02, settle=0.123)))
    thread.start()
    for _ in range(3000):
        if not venue.account.open():
            break
        released.wait(0.01)
    late = place(venue, 1, orderLinkId="late")  # a strategy that was still alive
    released.set()
    thread.join(60)
    assert rows[0]["verdict"] == "CANCELLED" and venue.account.open() == []
    assert later and {*late, *later} <= set(rows[0]["gone"])


def test_status_names_what_is_broken(venue):
    row = one(venue, cancel=False, status=True)
    assert row["verdict"] == "OK" and row["status"]["credentials"] == "OK" and abs(row["status"]["skew"]) < 1
    assert [layer.split(" ")[0] for layer in row["status"]["layers"]] == ["DNS", "TCP"]
    venue.account.faults["skew"] = 60
    row = one(venue, cancel=False, status=True)
    assert row["verdict"] != "OK" and "the clocks differ by 60.0 s" in row["why"]
    venue.account.faults.clear()
    row = one(venue, cancel=False, status=True, credentials={"api_key": "KEY-1", "secret": "wrong"})
    assert row["verdict"] != "OK" and "REJECTED: AuthenticationError" in row["why"]
    (row,) = Run([entry(venue, urls="http://127.0.0.1:1")]).once(cancel=False, status=True)
    assert row["verdict"] == "NOT OK" and row["why"].startswith("TCP to 127.0.0.1:1")


def test_no_request_leaves_this_machine(venue):
    client = venues.connect(parse(entry(venue), {}))
    assert not [url for url in venues._leaves(client.urls["api"]) if not url.startswith(venue.url)], "an address was left"
    with pytest.raises(ConfigError, match="ANDON_VENUES_LOOPBACK"):
        venues.connect(parse({**entry(venue), "urls": ""}, {}))
    with pytest.raises(ConfigError, match="a request went to"):
        client.session.request("GET", "https://192.0.2.1/")


@pytest.mark.parametrize(
    "exchange", ["binance", "binanceusdm", "okx", "kraken", "krakenfutures", "deribit", "kucoinfutures", "hyperliquid", "gate", "coinbase"]
)
def test_every_address_of_every_exchange_can_be_replaced(exchange):
    keys = {"api_key": "k", "secret": "c2VjcmV0", "password": "p", "wallet_address": "0x" + "1" * 40, "private_key": "0x" + "2" * 64}
    one = {"name": "x", "ccxt": exchange, "credentials": keys, "sections": [{}], "urls": "http://127.0.0.1:9"}
    desk = venues.Desk(parse(one, {}))
    desk.client = venues.connect(desk.venue)
    urls = list(venues._leaves(desk.client.urls["api"]))
    assert urls and all(url.startswith("http://127.0.0.1:9") and venues.loopback(url) for url in urls)
    assert isinstance(desk._trigger_list(None, {"type": "swap"}), bool)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "../x"}, "name is missing"),
        ({"ccxt": ""}, "ccxt is missing"),
        ({"simbols": []}, "did you mean symbols"),
        ({"symbols": "BTC/USDT"}, "symbols must be a list"),
        ({"sections": []}, "name what is to be looked at"),
        ({"credentials": {"api_kye": "x"}}, "did you mean api_key"),
        ({"credentials": {"api_key_env": "NOT_SET_ANYWHERE"}}, "NOT_SET_ANYWHERE is not set"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"urls": "ftp://x"}, "urls must be"),
        ({"keep_stops": "yes"}, "keep_stops"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_entries_are_refused_in_words(venue, change, words):
    with pytest.raises(ConfigError, match=words):
        parse({**entry(venue), **change}, {})


def test_bad_names_credentials_and_symbols_send_nothing_private(venue):
    place(venue, 1)
    for change, words in (
        ({"ccxt": "bybitt"}, "did you mean bybit"),
        ({"credentials": {"api_key": "KEY-1"}}, "credentials are missing: secret"),
        ({"symbols": ["BTC/USDX:USDX"], "sections": []}, "the venue has no symbol BTC/USDX:USDX"),
    ):
        row = one(venue, **change)
        assert row["verdict"] == "REFUSED" and words in row["why"], row["why"]
    assert {path for path, _ in venue.account.calls} <= {"/v5/market/instruments-info"} and len(venue.account.open()) == 1
    with pytest.raises(ConfigError, match="two entries"):
        parse_all([entry(venue), entry(venue)], {})
    with pytest.raises(ConfigError, match="must be a list"):
        parse_all("main", {})
    with pytest.raises(ConfigError, match="did you mean main"):
        Run([entry(venue)], only="mian")
    assert parse(entry(venue, credentials={"api_key_env": "K", "secret": "s"}), {"K": "v"}).credentials == {"apiKey": "v", "secret": "s"}


def test_the_market_list_of_an_earlier_run_serves_a_venue_in_trouble(venue, tmp_path):
    desk = venues.Desk(parse(entry(venue, symbols=["BTC/USDT:USDT"]), {}))
    desk.open()
    assert not (tmp_path / "state").exists(), "a simulator's markets must not be taken for the venue's"
    desk.keep_markets()
    venue.account.faults["down"] = 1
    other = venues.Desk(desk.venue)
    other.client = venues.connect(desk.venue)
    assert other.cached_markets() and other.client.market("BTC/USDT:USDT")["id"] == "BTCUSDT"
    desk._markets_file().write_text("{")
    assert not other.cached_markets() and not other.client.markets


def test_the_simulator_checks_signatures(venue):
    assert one(venue, cancel=False, credentials={"api_key": "KEY-1", "secret": "wrong"})["verdict"] == "UNKNOWN"
    assert one(venue, cancel=False)["verdict"] == "WOULD CANCEL"
