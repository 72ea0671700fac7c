"""The lab's venue, over real HTTP on a port of its own; the bookkeeping, against a model."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.venue_sim import BODY_LIMIT, Refused, Request, Server, Venue

PROGRAM = Path(__file__).resolve().parents[3] / "lab" / "venue_sim.py"


class Client:
    """Asks one venue, a new connection each time."""

    def __init__(self, port):
        self.port = port

    def __call__(self, method, path, body=None, raw=None, headers=None, timeout=10):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, raw if raw is not None else json.dumps(body or {}), headers or {})
            reply = connection.getresponse()
            return reply.status, json.loads(reply.read())
        finally:
            connection.close()

    def place(self, client_id="c1", **changes):
        order = {"symbol": "BTC/USDT", "side": "buy", "type": "limit", "qty": 1, "price": 50000, **changes}
        order = {k: v for k, v in order.items() if v is not None}
        return self("POST", "/accounts/acc/orders", {"client_id": client_id, **order})

    def market(self, client_id, side, qty, **changes):
        return self.place(client_id, side=side, type="market", qty=qty, price=None, **changes)


@pytest.fixture
def venue():
    server = Server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield Client(server.server_port)
    server.shutdown()
    server.server_close()


def test_limit_order_rests_until_it_is_crossed(venue):
    status, order = venue.place(qty=0.3)
    assert (status, order["status"], order["filled"]) == (201, "open", 0)
    assert [o["id"] for o in venue("GET", "/accounts/acc/orders")[1]] == [order["id"]]
    assert venue("POST", "/admin/tick")[1]["filled"] == []
    moved = venue("POST", "/admin/tick", {"symbol": "BTC/USDT", "price": 49999.5})[1]
    assert [o["id"] for o in moved["filled"]] == [order["id"]]
    assert venue("GET", "/accounts/acc/orders")[1] == []
    assert venue("GET", "/accounts/acc/orders?all=1")[1][0]["status"] == "filled"
    assert venue("GET", f"/accounts/acc/orders/{order['id']}")[1]["average"] == 50000
    position = {"symbol": "BTC/USDT", "qty": 0.3, "entry_price": 50000, "mark_price": 49999.5}
    assert venue("GET", "/accounts/acc/positions")[1] == [position]
    assert venue("GET", "/accounts/acc/fills")[1][0]["client_id"] == "c1"


def test_market_order_fills_at_once_and_turns_positions(venue):
    assert venue.market("c1", "buy", 0.1)[1]["status"] == "filled"
    venue.market("c2", "buy", 0.2)
    assert venue("GET", "/accounts/acc/positions")[1][0]["qty"] == 0.3
    venue.market("c3", "sell", 0.5)
    assert venue("GET", "/accounts/acc/positions")[1][0]["qty"] == -0.2
    order = venue.market("c4", "buy", 9, reduce_only=True)[1]
    assert (order["status"], order["filled"]) == ("filled", 0.2)
    assert venue("GET", "/accounts/acc/positions")[1] == []
    status, answer = venue.market("c5", "buy", 1, reduce_only=True)
    assert status == 400 and "reduce_only" in answer["error"]
    assert len(venue("GET", "/accounts/acc/fills")[1]) == 4


def test_conditional_orders_wait_for_their_trigger(venue):
    venue.market("open", "buy", 1)
    stop = venue.market("stop", "sell", 1, trigger_price=55000, reduce_only=True)[1]
    entry = venue.place("entry", price=64000, trigger_price=65000)[1]
    assert [o["triggered"] for o in venue("GET", "/accounts/acc/orders")[1]] == [False, False]
    assert venue("POST", "/admin/tick", {"symbol": "BTC/USDT", "price": 64999})[1]["filled"] == []
    venue("POST", "/admin/tick", {"symbol": "BTC/USDT", "price": 65000})
    left = {o["id"]: o["triggered"] for o in venue("GET", "/accounts/acc/orders")[1]}
    assert left == {stop["id"]: False, entry["id"]: True}
    venue("POST", "/admin/tick", {"symbol": "BTC/USDT", "price": 54000})
    assert venue("GET", "/accounts/acc/orders")[1] == []
    assert venue("GET", f"/accounts/acc/orders/{stop['id']}")[1]["average"] == 54000
    assert venue("GET", "/accounts/acc/positions")[1][0]["qty"] == 1  # the stop closed the old one, the entry opened anew


def test_client_id_makes_placing_idempotent(venue):
    first, again = venue.place(), venue.place()
    assert (first[0], again[0]) == (201, 200) and first[1] == again[1]
    assert venue.place(qty=2)[0] == 409
    venue("DELETE", "/accounts/acc/orders")
    assert venue.place()[1]["status"] == "cancelled"
    assert len(venue("GET", "/accounts/acc/orders?all=1")[1]) == 1


def test_one_client_id_from_many_threads_is_one_order(venue):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: venue.place(f"c{n % 2}"), range(24)))
    assert sorted(status for status, _ in answers) == [200] * 22 + [201] * 2
    assert len(venue("GET", "/accounts/acc/orders")[1]) == 2


def test_cancel_one_and_all(venue):
    ids = [venue.place(f"c{n}")[1]["id"] for n in range(3)]
    assert venue("DELETE", f"/accounts/acc/orders/{ids[0]}")[1]["status"] == "cancelled"
    assert venue("DELETE", f"/accounts/acc/orders/{ids[0]}")[0] == 409
    assert venue("DELETE", "/accounts/acc/orders/999")[0] == 404
    assert venue("DELETE", "/accounts/acc/orders")[1] == {"cancelled": ids[1:]}
    assert venue("GET", "/accounts/acc/orders")[1] == []


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"qty": 0}, "qty"),
        ({"qty": True}, "qty"),
        ({"qty": "1"}, "qty"),
        ({"qty": 1e-13}, "decimals"),
        ({"qty": float("nan")}, "qty"),
        ({"qty": 10**40}, "qty"),
        ({"price": -1}, "price"),
        ({"price": None}, "needs a price"),
        ({"type": "market"}, "has no price"),
        ({"side": ["buy"]}, "side"),
        ({"type": "iceberg"}, "type"),
        ({"symbol": "btc\x1b[31m"}, "symbol"),
        ({"client_id": "a b"}, "client_id"),
        ({"reduce_only": 1}, "reduce_only"),
        ({"leverage": 5}, "leverage"),
    ],
)
def test_bad_orders_are_refused_by_the_field_that_is_wrong(venue, change, word):
    status, answer = venue.place(**change)
    assert status == 400 and word in answer["error"]
    assert venue("GET", "/accounts/acc/orders")[0] == 404  # a refused order does not open an account


def test_hostile_requests_are_answered_and_bounded(venue):
    orders = "/accounts/acc/orders"
    for raw in (
        b"{",
        b"[]",
        b"\xff",
        b'{"qty": 1e9999999999999999999}',
        b"[" * 100_000,
        b'{"qty": ' + b"9" * 9000 + b"}",
    ):
        assert venue("POST", orders, raw=raw)[0] == 400
    for length, status in ((str(BODY_LIMIT + 1), 413), ("-1", 400), ("x", 400)):
        assert venue("POST", orders, raw=b"", headers={"Content-Length": length})[0] == status
    assert venue("POST", orders, headers={"Transfer-Encoding": "chunked"})[0] == 411
    assert venue("GET", "/accounts/%2e%2e%2fetc/orders")[0] == 400
    for path in ("/", "/nothing", "/accounts/acc", "/accounts/acc/secrets", "/accounts/nobody/fills", "/admin/x"):
        status, answer = venue("GET", path)
        assert status == 404 and answer["error"].startswith("unknown")
    assert venue("GET", "/health") == (200, {"status": "ok"})
    assert venue("GET", "/time")[1]["time"].endswith("Z")


def test_one_connection_carries_many_requests(venue):
    connection = http.client.HTTPConnection("127.0.0.1", venue.port, timeout=10)
    for _ in range(3):
        connection.request("GET", "/health")
        assert json.loads(connection.getresponse().read()) == {"status": "ok"}
    connection.close()


def test_fault_down_and_its_end(venue):
    venue.place()
    assert venue("POST", "/admin/faults", {"mode": "down", "seconds": 60})[1]["faults"][0]["mode"] == "down"
    for path in ("/accounts/acc/orders", "/health"):
        with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
            venue("GET", path)
    assert venue("POST", "/admin/faults", {"mode": None}) == (200, {"faults": []})
    assert venue("GET", "/health")[0] == 200


def test_fault_ends_by_itself(venue):
    venue("POST", "/admin/faults", {"mode": "error500", "seconds": 0.1})
    while venue("GET", "/admin/faults")[1]["faults"]:
        pass
    assert venue("GET", "/health")[0] == 200


def test_fault_for_one_account_leaves_the_others_alone(venue):
    venue.place()
    venue("POST", "/admin/faults", {"mode": "error500", "account": "other"})
    assert venue.place("c2")[0] == 201
    assert venue("POST", "/accounts/other/orders")[0] == 500
    venue("POST", "/admin/faults", {"mode": None, "account": "other"})
    assert venue("POST", "/accounts/other/orders")[0] == 400


def test_faults_of_cancels(venue):
    order = venue.place()[1]["id"]
    one, every = f"/accounts/acc/orders/{order}", "/accounts/acc/orders"
    venue("POST", "/admin/faults", {"mode": "reject_cancel"})
    assert venue("DELETE", one)[0] == venue("DELETE", every)[0] == 400
    venue("POST", "/admin/faults", {"mode": "lie_cancel"})
    assert venue("DELETE", one)[1]["status"] == "cancelled"
    assert venue("DELETE", every) == (200, {"cancelled": [order]})
    assert [o["status"] for o in venue("GET", every)[1]] == ["open"]


def test_slow_venue_does_what_was_asked_after_the_caller_gave_up(venue):
    venue("POST", "/admin/faults", {"mode": "slow", "account": "acc", "delay": 60})
    body = {"client_id": "c", "symbol": "X", "side": "buy", "type": "limit", "qty": 1, "price": 1}
    with pytest.raises(TimeoutError):
        venue("POST", "/accounts/acc/orders", body, timeout=0.2)
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(venue, "GET", "/accounts/acc/orders")
        venue("POST", "/admin/faults", {"mode": None})
        assert [o["client_id"] for o in late.result(10)[1]] == ["c"]


@pytest.mark.parametrize("body", [{}, {"mode": "fire"}, {"mode": "down", "seconds": -1}, {"mode": "slow", "account": "/"}])
def test_unknown_faults_are_refused(venue, body):
    assert venue("POST", "/admin/faults", body)[0] == 400
    assert venue("GET", "/admin/faults")[1] == {"faults": []}


steps = st.lists(
    st.tuples(
        st.sampled_from(["market", "limit", "cancel", "tick"]),
        st.sampled_from(["buy", "sell"]),
        st.integers(1, 9),
        st.integers(95, 105),
        st.booleans(),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(steps)
def test_position_is_the_sum_of_the_fills_and_reduce_only_never_turns_it(moves):
    venue = Venue(["acc"])
    for n, (what, side, qty, price, reduce_only) in enumerate(moves):
        before = {p["symbol"]: p["qty"] for p in venue.positions("acc")}.get("X", Decimal(0))
        if what == "tick":
            venue.tick("X", Decimal(price))
        elif what == "cancel":
            venue.cancel_all("acc")
            assert venue.orders("acc") == []
        else:
            limit = Decimal(price) if what == "limit" else None
            try:
                asked = Request(f"c{n}", "X", side, what, Decimal(qty) / 10, limit, reduce_only, None)
                venue.place("acc", asked)
            except Refused:
                assert reduce_only and (before <= 0 if side == "sell" else before >= 0)
        fills = [f["qty"] if f["side"] == "buy" else -f["qty"] for f in venue.fills("acc")]
        after = {p["symbol"]: p["qty"] for p in venue.positions("acc")}.get("X", Decimal(0))
        assert after == sum(fills, Decimal(0))
        if what == "market" and reduce_only:
            assert after * before >= 0 and abs(after) <= abs(before)
    orders = venue.orders("acc", everything=True)
    assert len({o["id"] for o in orders}) == len(orders)
    assert sum(o["filled"] for o in orders) == sum(f["qty"] for f in venue.fills("acc"))


def test_program_says_its_port_and_ends_on_sigterm():
    program = subprocess.Popen(
        [sys.executable, PROGRAM, "--host", "127.0.0.1", "--port", "0", "--account", "acc"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        port = int(program.stdout.readline().rsplit(":", 1)[1])
        assert Client(port)("GET", "/accounts/acc/orders") == (200, [])
        program.send_signal(signal.SIGTERM)
        assert program.wait(10) == 0
        assert program.stdout.read().endswith("venue: stopped\n")
    finally:
        program.kill()
        program.wait()
        program.stdout.close()


def test_port_that_is_taken_is_said_in_one_line():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        command = [sys.executable, PROGRAM, "--host", "127.0.0.1", "--port", str(taken.getsockname()[1])]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and "choose another --port" in done.stderr and len(done.stderr.splitlines()) == 1
