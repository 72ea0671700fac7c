"""The dead man's switch: what is really sent, what can be read back, and that an answer alone is never a success."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from andon import venue_switch, venue_switch_report
from andon.venues import ConfigError, Run
from tests.support.venue import entry as venue_entry


def entry(server, **more):
    return venue_entry(server, **{"sections": [{"type": "swap"}, {"type": "spot"}], "timeout_s": 3, **more})


def act(server, what, timeout=40, check=False, budget=5.0, **more):
    job = {"task": "switch", "config": [entry(server, **more)], "only": "main", "act": what, "timeout": timeout, "check": check, "budget": budget}
    (row,) = venue_switch.rows(job)
    return row


def sent(server):
    return [asked for path, asked in server.account.calls if path.endswith("disconnected-cancel-all")]


def test_the_window_is_set_for_each_kind_of_market_and_read_back(venue):
    row = act(venue, "arm")
    assert row["verdict"] == "SET" and venue.account.windows == {"SPOT": 40, "DERIVATIVES": 40}, row
    assert sent(venue) == [{"product": "DERIVATIVES", "timeWindow": 40}, {"product": "SPOT", "timeWindow": 40}]
    assert row["read_back"] == "DERIVATIVES ON 40 s, SPOT ON 40 s" and row["has"]["kind"] == "stream"
    assert "which no request shows" in row["why"], "what a window does not prove is said"
    # And the venue really cancels when its time has passed, not before, and protective stops with it.
    venue.account.place({"symbol": "BTCUSDT", "price": "100"})
    venue.account.place({"symbol": "BTCUSDT", "side": "Sell", "orderType": "Market", "triggerPrice": "90", "triggerDirection": 2, "reduceOnly": True})
    venue.account.stream(False, ago=30)
    assert len(venue.account.open()) == 2
    venue.account.stream(True)
    venue.account.stream(False, ago=41)
    assert venue.account.open() == []


def test_an_answer_that_set_nothing_is_no_success(venue):
    venue.account.faults["lie_switch"] = 1
    row = act(venue, "arm", budget=1.0)
    assert row["verdict"] == "UNKNOWN" and "its own configuration shows another: DERIVATIVES ON 10 s" in row["why"], row
    assert not venue_switch_report.make(row)["ok"]
    assert len(sent(venue)) == 2, "nothing is sent twice"


@pytest.mark.parametrize(("fault", "words"), [("bad_key", "AuthenticationError"), ("rate_limit", "RateLimitExceeded"), ("down", "NetworkError")])
def test_a_venue_that_refuses_or_breaks(venue, fault, words):
    venue.account.faults[fault] = 1
    row = act(venue, "arm", budget=3.0)
    assert row["verdict"] in ("REFUSED", "UNKNOWN") and words in row["why"] and "SECRET-1" not in json.dumps(row), row
    assert venue.account.windows == {"SPOT": 10, "DERIVATIVES": 10}


def test_what_cannot_be_is_refused_before_anything_is_sent(venue):
    for what, timeout, words in (("arm", 2, "3 to 300 whole seconds"), ("arm", 301, "3 to 300"), ("disarm", 0, "client manager"), ("refresh", 40, "not armed")):
        row = act(venue, what, timeout)
        assert row["verdict"] == "REFUSED" and words in row["why"] and "othing was sent" in row["why"], row
        assert row["sent_at"] is None and not venue_switch_report.make(row)["ok"]
    assert act(venue, "arm", ccxt="upbit")["why"].startswith("there is no dead man's switch")
    assert not sent(venue)
    row = act(venue, "arm", check=True)
    assert row["verdict"] == "WOULD SET" and row["products"] == ["swap", "spot"] and not sent(venue)
    with pytest.raises(ConfigError, match="there is no venue"):
        venue_switch.rows({"task": "switch", "config": [entry(venue)], "only": "mian", "act": "arm", "timeout": 40, "check": False, "budget": 1})


def test_what_was_done_last_is_remembered_and_a_disarm_ends_the_refreshing(venue):
    assert venue_switch.last_words("main", time.time()) == ""
    row = act(venue, "arm")
    assert venue_switch.remember(row) == "" and act(venue, "refresh", 50)["verdict"] == "SET"
    at = venue_switch.last("main")["sent_at"]
    words = venue_switch.last_words("main", time.time())
    assert words.startswith(f"switch: arm {at} UTC (") and "by tester: SET, 40 s without a private stream" in words
    # A refused run reached nobody: it does not hide the one before.
    venue_switch.remember(act(venue, "arm", 1))
    assert venue_switch.last("main")["act"] == "arm" and venue_switch.last("main")["timeout"] == 40
    venue_switch.remember({**row, "act": "disarm", "timeout": None, "verdict": "DISARMED"})
    assert act(venue, "refresh")["verdict"] == "REFUSED", "a loop's refresh after somebody's disarm must not arm it again"
    venue_switch.remember({**row, "has": {"kind": "countdown"}, "timeout": 30})
    assert "left" in venue_switch.last_words("main", time.time()) and "ran out 1 min" in venue_switch.last_words("main", time.time() + 95)


def test_a_folder_that_cannot_be_written_is_said(venue, monkeypatch):
    row = act(venue, "arm", check=True)
    monkeypatch.setenv("ANDON_STATE", "/dev/null/x")
    assert "cannot be written" in venue_switch.remember(row)


# Other exchanges: what ccxt really sends, at a door that writes it down


class Door(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format, *args):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        self.server.asked.append((self.path, body))
        data = json.dumps(self.server.answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST


@pytest.fixture
def door():
    with ThreadingHTTPServer(("127.0.0.1", 0), Door) as server:
        server.daemon_threads = True
        server.asked, server.answer = [], {}
        server.url = "http://127.0.0.1:%d" % server.server_address[1]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


MARKET = {"id": "BTCUSDT", "symbol": "BTC/USDT:USDT", "base": "BTC", "quote": "USDT", "settle": "USDT", "type": "swap", "spot": False, "swap": True}
MARKET |= {"linear": True, "inverse": False, "contract": True, "active": True, "option": False, "future": False}


def at_the_door(door, exchange, what, timeout, answer, **more):
    """One act, with the markets given: only the switch's own request goes out."""
    config = entry(
        door, ccxt=exchange, credentials={"api_key": "K", "secret": "c2VjcmV0", "password": "P"}, **{"sections": [], "symbols": ["BTC/USDT:USDT"], **more}
    )
    door.answer = answer
    run = Run([config], only="main")
    desk, row = run.desks["main"], venue_switch.blank("main", what, timeout)
    desk.clock = venue_switch.Clock(3.0)
    desk.open = lambda: desk.client.set_markets([MARKET])
    venue_switch.Switch(desk, row, what, timeout, False).run()
    return row


@pytest.mark.parametrize(
    ("exchange", "timeout", "path", "inside"),
    [
        ("okx", 60, "/api/v5/trade/cancel-all-after", '"timeOut":60'),
        ("okx", 0, "/api/v5/trade/cancel-all-after", '"timeOut":0'),
        ("binanceusdm", 60, "/fapi/v1/countdownCancelAll", "countdownTime=60000"),
        ("binanceusdm", 0, "/fapi/v1/countdownCancelAll", "countdownTime=0"),
        ("kraken", 60, "/0/private/CancelAllOrdersAfter", "timeout=60"),
    ],
)
def test_a_countdown_is_sent_as_asked_and_its_answer_alone_is_unknown(door, exchange, timeout, path, inside):
    answers = {"okx": {"code": "0", "msg": "", "data": [{"triggerTime": "1"}]}, "kraken": {"error": [], "result": {}}}
    row = at_the_door(door, exchange, "arm" if timeout else "disarm", timeout, answers.get(exchange, {"symbol": "BTCUSDT"}))
    ((where, body),) = door.asked
    assert where.split("?")[0] == path and inside in body + where, door.asked
    assert row["verdict"] == "UNKNOWN" and "not proof" in row["why"] and row["has"]["kind"] == "countdown", row
    if exchange == "binanceusdm":
        assert "symbol=BTCUSDT" in body + where and row["has"]["switch"] == "raw"
    said = venue_switch_report.make(row)
    assert not said["ok"] and "not proven" in " ".join(said["summary"]), said


def test_gates_switch_is_per_section_and_binances_needs_symbols(door):
    row = at_the_door(door, "gate", "arm", 30, {"triggerTime": 1}, symbols=[], sections=[{"type": "swap"}, {"type": "spot"}])
    assert [(path.split("?")[0], json.loads(body)["timeout"]) for path, body in door.asked] == [
        ("/api/v4/futures/usdt/countdown_cancel_all", 30),
        ("/api/v4/spot/countdown_cancel_all", 30),
    ], row
    row = at_the_door(door, "binanceusdm", "arm", 30, {}, symbols=[], sections=[{"type": "swap"}])
    assert row["verdict"] == "REFUSED" and "per futures symbol" in row["why"] and len(door.asked) == 2


def test_hyperliquids_zero_is_never_sent(door):
    row = act(door, "disarm", ccxt="hyperliquid", credentials={"wallet_address": "0x" + "1" * 40, "private_key": "0x" + "1" * 64})
    assert row["verdict"] == "REFUSED" and "at once" in row["why"] and not door.asked, row


# Capabilities


def test_the_table_is_ccxts_own():
    rows = {one["exchange"]: one for one in venue_switch.rows({"task": "capabilities", "exchanges": ["bybit", "binanceusdm", "okx", "upbit", "deribit"]})}
    assert {name: (one["switch"]["switch"], one["switch"]["kind"]) for name, one in rows.items()} == {
        "bybit": ("unified", "stream"),
        "binanceusdm": ("raw", "countdown"),
        "okx": ("unified", "countdown"),
        "upbit": ("none", ""),
        "deribit": ("none", ""),
    }
    assert rows["okx"]["bulk"] == "list" and rows["bybit"]["bulk"] == "all" and rows["okx"]["credentials"] == ["api_key", "secret", "password"]
    assert rows["bybit"]["trigger"]["swap"] == "yes" and rows["bybit"]["has"]["setPositionMode"] == "yes"
    report = venue_switch_report.table(list(rows.values()))
    assert report["ok"] and all(len(line) <= 80 for line in report["summary"]) and "switch unified (stream)" in report["summary"][0]
    assert all(line.rpartition("trigger ")[2].count("/") == 1 and not line.endswith("…") for line in report["summary"]), report["summary"]
    with pytest.raises(ConfigError, match="did you mean bybit"):
        venue_switch.capabilities("bybitt")


def test_every_raw_method_and_every_named_exchange_is_in_this_ccxt():
    import ccxt

    for name, (method, _) in venue_switch.RAW.items():
        client = getattr(ccxt, name)()
        assert hasattr(client, method) and client.has.get("cancelAllOrdersAfter") is not True, name
    for name in (*venue_switch.BOUNDS, *venue_switch.NO_DISARM, *venue_switch.STREAMS, *venue_switch.CONNECTION_ONLY):
        assert name in ccxt.exchanges, name
