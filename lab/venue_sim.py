#!/usr/bin/env python3
"""A small venue (exchange) over HTTP and JSON, for the lab: orders, fills and positions per account, faults on demand.

    python3 venue_sim.py --port 8080 [--host 0.0.0.0] [--account NAME ...]

    POST   /accounts/ACC/orders      {client_id, symbol, side, type, qty, price?, reduce_only?, trigger_price?} -> order
    GET    /accounts/ACC/orders      open orders, conditional ones included; ?all=1 adds the closed ones
    GET    /accounts/ACC/orders/ID   one order
    DELETE /accounts/ACC/orders/ID   cancels one; 409 if it is closed already
    DELETE /accounts/ACC/orders      cancels all -> {"cancelled": [ids]}
    GET    /accounts/ACC/positions   /accounts/ACC/fills   /health   /time
    POST   /admin/tick               {symbol, price}: moves a price, then fills what is crossed; {}: only fills
    GET    /admin/faults
    POST   /admin/faults             {mode, seconds?, account?, delay?}; mode null ends that account's fault, or all

An account begins with its first order (or with --account); before that it is unknown: 404, as with a real venue, so
that a mistyped account never looks like one without orders. Everything is in memory, and a restart forgets it.

The faults: `down` closes connections without an answer; `error500` answers 500 and does nothing; `slow` does what was
asked and answers `delay` seconds later (the caller's deadline passes, and the order exists all the same);
`reject_cancel` refuses every cancel; `lie_cancel` says that it cancelled and did nothing. A fault for an account
touches only that account's requests; one without an account touches everything but /admin.

Standard library only, Python 3.11 or newer. There is no authentication: this is for the lab's own network.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import socketserver
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

BODY_LIMIT = 1024 * 1024  # bytes of one request's body
ACCOUNTS_LIMIT = 1000
OPEN_LIMIT = 10_000  # open orders per account
HISTORY = 10_000  # closed orders and fills that an account remembers; client ids are known for as long
LARGEST = Decimal(10) ** 9  # quantities and prices; with 12 decimals a sum stays within Decimal's 28 digits
DECIMALS = 12

ACCOUNT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")
CLIENT_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}\Z")
SYMBOL = re.compile(r"[A-Z0-9][A-Z0-9/:_-]{0,31}\Z")
MODES = ("down", "slow", "error500", "reject_cancel", "lie_cancel")
PRICES = {"BTC/USDT": Decimal(60_000), "ETH/USDT": Decimal(3_000), "SOL/USDT": Decimal(150)}
OTHER_PRICE = Decimal(100)  # where a symbol that nobody has moved yet stands


class Refused(Exception):
    """A request that is answered with an error: the HTTP status and the words."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


def utc_now() -> str:
    """Now, as 2026-11-22T03:04:05.678Z."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def number(value: Any, name: str) -> Decimal:
    """A quantity or a price from a request: positive, at most LARGEST, at most DECIMALS decimals.

    Raises:
        Refused: 400, for anything else (booleans and strings too).
    """
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise Refused(400, f"{name} must be a number")
    amount = Decimal(value)
    if not amount.is_finite() or not 0 < amount <= LARGEST:
        raise Refused(400, f"{name} must be greater than 0 and at most {LARGEST}")
    if amount != amount.quantize(Decimal(1).scaleb(-DECIMALS)):
        raise Refused(400, f"{name} has more than {DECIMALS} decimals")
    return amount


def matching(value: Any, pattern: re.Pattern[str], name: str) -> str:
    """A text from a request that its pattern allows; Refused (400) otherwise."""
    if not isinstance(value, str) or not pattern.match(value):
        raise Refused(400, f"{name} is missing or has characters that are not allowed ({pattern.pattern})")
    return value


def one_of(value: Any, allowed: Iterable[str], name: str) -> str:
    """A word from a request that is one of a few; Refused (400) otherwise."""
    if not isinstance(value, str) or value not in allowed:
        raise Refused(400, f"{name} must be one of: {', '.join(allowed)}")
    return value


@dataclass(frozen=True)
class Request:
    """What a client asked for when it placed an order: checked, and the same again for the same client id."""

    client_id: str
    symbol: str
    side: str
    type: str
    qty: Decimal
    price: Decimal | None
    reduce_only: bool
    trigger_price: Decimal | None

    @classmethod
    def parse(cls, body: dict[str, Any]) -> Request:
        """The order in a request's body; Refused (400) says which field is wrong."""
        unknown = sorted(set(body) - set(cls.__dataclass_fields__))
        if unknown:
            raise Refused(400, f"unknown field: {str(unknown[0])[:64]!r}")
        kind = one_of(body.get("type"), ("limit", "market"), "type")
        price, trigger, reduce_only = body.get("price"), body.get("trigger_price"), body.get("reduce_only", False)
        if kind == "limit" and price is None:
            raise Refused(400, "a limit order needs a price")
        if kind == "market" and price is not None:
            raise Refused(400, "a market order has no price")
        if not isinstance(reduce_only, bool):
            raise Refused(400, "reduce_only must be true or false")
        return cls(
            client_id=matching(body.get("client_id"), CLIENT_ID, "client_id"),
            symbol=matching(body.get("symbol"), SYMBOL, "symbol"),
            side=one_of(body.get("side"), ("buy", "sell"), "side"),
            type=kind,
            qty=number(body.get("qty"), "qty"),
            price=None if price is None else number(price, "price"),
            reduce_only=reduce_only,
            trigger_price=None if trigger is None else number(trigger, "trigger_price"),
        )


@dataclass
class Order:
    """One order; status is open, filled or cancelled."""

    id: str
    account: str
    asked: Request
    rises: bool  # a conditional order waits for a price at or above its trigger (else at or below)
    waiting: bool  # conditional, and its trigger has not been touched
    status: str = "open"
    reason: str | None = None
    filled: Decimal = Decimal(0)
    average: Decimal | None = None
    created_at: str = field(default_factory=utc_now)
    updated_at: str = field(default_factory=utc_now)

    def shown(self) -> dict[str, Any]:
        """The order as clients see it."""
        own = {k: getattr(self, k) for k in ("status", "reason", "filled", "average", "created_at", "updated_at")}
        return {"id": self.id, "account": self.account, **vars(self.asked), "triggered": not self.waiting, **own}

    def close(self, status: str, reason: str | None = None) -> None:
        """Ends the order."""
        self.status, self.reason, self.updated_at = status, reason, utc_now()

    def touched(self, price: Decimal) -> bool:
        """True if a price sets a conditional order off."""
        trigger = self.asked.trigger_price
        return trigger is not None and (price >= trigger if self.rises else price <= trigger)

    def crossed(self, price: Decimal) -> bool:
        """True if the order can be filled at a price."""
        if self.waiting:
            return False
        if self.asked.price is None:
            return True
        return price <= self.asked.price if self.asked.side == "buy" else price >= self.asked.price


@dataclass
class Position:
    """What an account holds of a symbol: positive is long, negative is short."""

    qty: Decimal = Decimal(0)
    entry_price: Decimal = Decimal(0)

    def reducible(self, side: str) -> Decimal:
        """How much an order of this side can take off the position without turning it round."""
        return max(Decimal(0), -self.qty if side == "buy" else self.qty)

    def add(self, side: str, qty: Decimal, price: Decimal) -> None:
        """Applies a fill; the entry price is the average of what opened the position."""
        old, new = self.qty, self.qty + (qty if side == "buy" else -qty)
        if old == 0 or old * new < 0:
            self.entry_price = price
        elif abs(new) > abs(old):
            self.entry_price = (self.entry_price * abs(old) + price * qty) / abs(new)
        self.qty = new


class Account:
    """One account's orders, fills and positions. Not thread-safe: the Venue's lock covers it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.orders: dict[str, Order] = {}
        self.open: dict[str, Order] = {}
        self.by_client: dict[str, Order] = {}
        self.closed: deque[Order] = deque()
        self.fills: deque[dict[str, Any]] = deque(maxlen=HISTORY)
        self.positions: dict[str, Position] = {}

    def position(self, symbol: str) -> Position:
        """The position in a symbol, flat if there is none."""
        return self.positions.get(symbol, Position())

    def add(self, order: Order) -> None:
        """Takes a new order in."""
        self.orders[order.id] = self.open[order.id] = self.by_client[order.asked.client_id] = order

    def close(self, order: Order, status: str, reason: str | None = None) -> None:
        """Ends an order, and forgets the oldest closed one when there are too many."""
        order.close(status, reason)
        del self.open[order.id]
        self.closed.append(order)
        if len(self.closed) > HISTORY:
            oldest = self.closed.popleft()
            del self.orders[oldest.id], self.by_client[oldest.asked.client_id]

    def fill(self, order: Order, price: Decimal) -> None:
        """Fills an order as a whole; a reduce-only one as far as there is a position to reduce, or it is cancelled."""
        asked = order.asked
        qty = asked.qty
        if asked.reduce_only:
            qty = min(qty, self.position(asked.symbol).reducible(asked.side))
            if qty == 0:
                self.close(order, "cancelled", "reduce_only: no position is left to reduce")
                return
        position = self.positions.setdefault(asked.symbol, Position())
        position.add(asked.side, qty, price)
        if position.qty == 0:
            del self.positions[asked.symbol]
        order.filled, order.average = qty, price
        self.close(order, "filled")
        fill = {"order_id": order.id, "client_id": asked.client_id, "symbol": asked.symbol, "side": asked.side}
        self.fills.append({**fill, "qty": qty, "price": price, "at": order.updated_at})


class Venue:
    """All accounts and prices, behind one lock."""

    def __init__(self, accounts: Iterable[str] = ()) -> None:
        self._lock = threading.Lock()
        self._prices = dict(PRICES)
        self._next = 1
        self._accounts = {name: Account(name) for name in accounts}

    def _account(self, name: str) -> Account:
        if name not in self._accounts:
            raise Refused(404, f"unknown account: {name}")
        return self._accounts[name]

    def _price(self, symbol: str) -> Decimal:
        return self._prices.get(symbol, OTHER_PRICE)

    def place(self, name: str, asked: Request) -> tuple[bool, dict[str, Any]]:
        """Takes an order. Market orders without a trigger are filled at once; everything else rests.

        Returns:
            True and the new order; False and the one that is known by this client id already.

        Raises:
            Refused: 409 if the client id belongs to a different order; 400 if the order is reduce-only and there is
                nothing to reduce, or if the account has too many open orders.
        """
        with self._lock:
            if name not in self._accounts and len(self._accounts) >= ACCOUNTS_LIMIT:
                raise Refused(400, "too many accounts")
            account = self._accounts.get(name) or Account(name)
            known = account.by_client.get(asked.client_id)
            if known:
                if known.asked != asked:
                    raise Refused(409, f"client_id {asked.client_id} was used for a different order ({known.id})")
                return False, known.shown()
            if asked.reduce_only and account.position(asked.symbol).reducible(asked.side) == 0:
                raise Refused(400, "reduce_only: there is no position that this order would reduce")
            if len(account.open) >= OPEN_LIMIT:
                raise Refused(400, f"more than {OPEN_LIMIT} open orders")
            self._accounts[name] = account
            price, trigger = self._price(asked.symbol), asked.trigger_price
            order = Order(str(self._next), name, asked, trigger is not None and trigger >= price, trigger is not None)
            self._next += 1
            account.add(order)
            if asked.type == "market" and trigger is None:
                account.fill(order, price)
            return True, order.shown()

    def orders(self, name: str, everything: bool = False) -> list[dict[str, Any]]:
        """The open orders, or all that are remembered, oldest first."""
        with self._lock:
            account = self._account(name)
            return [order.shown() for order in (account.orders if everything else account.open).values()]

    def order(self, name: str, order_id: str) -> dict[str, Any]:
        """One order, open or closed; Refused (404) if it is unknown."""
        with self._lock:
            return self._order(self._account(name), order_id).shown()

    @staticmethod
    def _order(account: Account, order_id: str) -> Order:
        if order_id not in account.orders:
            raise Refused(404, f"unknown order: {order_id[:64]}")
        return account.orders[order_id]

    def cancel(self, name: str, order_id: str, really: bool = True) -> dict[str, Any]:
        """Cancels one order, or (not really) only answers as if; Refused: 404 if it is unknown, 409 if it is closed."""
        with self._lock:
            account = self._account(name)
            order = self._order(account, order_id)
            if order.status != "open":
                raise Refused(409, f"order {order.id} is {order.status} already")
            if really:
                account.close(order, "cancelled", "by the client")
            return {**order.shown(), "status": "cancelled"}

    def cancel_all(self, name: str, really: bool = True) -> dict[str, Any]:
        """Cancels every open order of an account, conditional ones too, or (not really) only answers as if."""
        with self._lock:
            account = self._account(name)
            orders = list(account.open.values())
            if really:
                for order in orders:
                    account.close(order, "cancelled", "by the client")
            return {"cancelled": [order.id for order in orders]}

    def positions(self, name: str) -> list[dict[str, Any]]:
        """The positions that are not flat."""
        with self._lock:
            held = sorted(self._account(name).positions.items())
            return [{"symbol": symbol, **vars(p), "mark_price": self._price(symbol)} for symbol, p in held]

    def fills(self, name: str) -> list[dict[str, Any]]:
        """The fills that are remembered, oldest first."""
        with self._lock:
            return list(self._account(name).fills)

    def tick(self, symbol: str | None = None, price: Decimal | None = None) -> dict[str, Any]:
        """Moves a symbol's price if one is given; then sets off and fills what is touched or crossed, everywhere."""
        with self._lock:
            if symbol is not None and price is not None:
                self._prices[symbol] = price
            filled = []
            for account in self._accounts.values():
                for order in list(account.open.values()):
                    now = self._price(order.asked.symbol)
                    order.waiting = order.waiting and not order.touched(now)
                    if order.crossed(now):
                        account.fill(order, order.asked.price or now)
                        filled.append(order.shown())
            return {"filled": filled, "prices": dict(self._prices)}


@dataclass(frozen=True)
class Fault:
    """A fault that is on: until when (monotonic seconds; None: until switched off), and how late slow answers are."""

    mode: str
    until: float | None
    delay: float

    def over(self) -> bool:
        """True once its time is up."""
        return self.until is not None and time.monotonic() >= self.until


class Faults:
    """The faults that are on, at most one per account and one for everything."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._faults: dict[str | None, Fault] = {}

    def switch(self, body: dict[str, Any]) -> dict[str, Any]:
        """Switches a fault on or off as a request asks; Refused (400) if it makes no sense."""
        account = body.get("account")
        if account is not None:
            matching(account, ACCOUNT, "account")
        if "mode" not in body:
            raise Refused(400, f"mode must be null or one of: {', '.join(MODES)}")
        fault = None
        if body["mode"] is not None:
            seconds, delay = body.get("seconds"), body.get("delay", 5)
            fault = Fault(
                one_of(body["mode"], MODES, "mode"),
                None if seconds is None else time.monotonic() + float(number(seconds, "seconds")),
                float(number(delay, "delay")),
            )
        with self._changed:
            if fault:
                if account not in self._faults and len(self._faults) > ACCOUNTS_LIMIT:
                    raise Refused(400, "too many faults")
                self._faults[account] = fault
            elif account is None:
                self._faults.clear()
            else:
                self._faults.pop(account, None)
            self._changed.notify_all()
        return self.shown()

    def shown(self) -> dict[str, Any]:
        """The faults that are on; `left` is in seconds."""
        with self._changed:
            live = [(account, fault) for account, fault in self._faults.items() if not fault.over()]
        now = time.monotonic()
        left = {account: None if fault.until is None else round(fault.until - now, 1) for account, fault in live}
        return {"faults": [{"account": account, "mode": fault.mode, "left": left[account]} for account, fault in live]}

    def _find(self, account: str | None) -> Fault | None:
        for key in dict.fromkeys((account, None)):
            fault = self._faults.get(key)
            if fault and not fault.over():
                return fault
        return None

    def mode(self, account: str | None) -> str | None:
        """The fault that a request meets: its account's own, else the one for everything."""
        with self._changed:
            fault = self._find(account)
            return fault.mode if fault else None

    def drag(self, account: str | None) -> None:
        """Waits as long as a slow venue does; a fault that is switched off or over lets go at once."""
        begun = time.monotonic()
        with self._changed:
            while (fault := self._find(account)) and fault.mode == "slow":
                end = begun + fault.delay if fault.until is None else min(begun + fault.delay, fault.until)
                if time.monotonic() >= end:
                    return
                self._changed.wait(end - time.monotonic())


class Handler(BaseHTTPRequestHandler):
    """One connection: reads a bounded request, meets the faults, answers JSON."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version = "venue-sim"
    timeout = 30  # seconds that a silent client may keep a thread
    wbufsize = -1  # headers and body leave in one segment; two of them would wait for each other's acknowledgement

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: a strategy's two requests a second would bury what matters."""

    def _body(self) -> dict[str, Any]:
        if self.headers.get("Transfer-Encoding"):
            raise Refused(411, "send a Content-Length, not chunks")
        length = self.headers.get("Content-Length", "0")
        if not re.fullmatch(r"[0-9]{1,18}", length):
            raise Refused(400, "Content-Length is not a number")
        if int(length) > BODY_LIMIT:
            raise Refused(413, f"the body is larger than {BODY_LIMIT} bytes")
        raw = self.rfile.read(int(length))
        if len(raw) < int(length):
            raise Refused(400, "the body ended early")
        try:
            body = json.loads(raw or b"{}", parse_float=Decimal, parse_constant=Decimal)
        # ArithmeticError: an exponent that Decimal cannot hold; RecursionError: a body of a million brackets.
        except (ValueError, ArithmeticError, RecursionError) as error:
            raise Refused(400, f"the body is not JSON ({type(error).__name__})") from None
        if not isinstance(body, dict):
            raise Refused(400, "the body must be a JSON object")
        return body

    def _reply(self, status: int, answer: Any) -> None:
        raw = json.dumps(answer, default=float).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(raw)

    def _serve(self) -> None:
        account: str | None = None
        mode: str | None = None
        try:
            try:
                body = self._body()
            except Refused:
                self.close_connection = True  # what is left of the body is not the next request
                raise
            parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
            if parts[0] == "accounts" and len(parts) > 1:
                account = matching(parts[1], ACCOUNT, "account")
            mode = None if parts[0] == "admin" else self.server.faults.mode(account)
            if mode == "down":
                self.close_connection = True
                return
            if mode == "error500":
                raise Refused(500, "internal error")
            status, answer = self._route(parts, body, mode)
        except Refused as refused:
            status, answer = refused.status, {"error": str(refused)}
        if mode == "slow":
            self.server.faults.drag(account)
        self._reply(status, answer)

    do_GET = do_POST = do_DELETE = do_PUT = do_PATCH = _serve

    def _route(self, parts: list[str], body: dict[str, Any], mode: str | None) -> tuple[int, Any]:
        match parts:
            case ["accounts", name, *rest]:
                return self._account(name, rest, body, mode)
            case ["admin", what]:
                return self._admin(what, body)
            case ["health"] if self.command == "GET":
                return 200, {"status": "ok"}
            case ["time"] if self.command == "GET":
                return 200, {"time": utc_now(), "epoch_ms": time.time_ns() // 1_000_000}
        raise Refused(404, f"unknown: {self.command} {self.path[:100]}")

    def _account(self, name: str, rest: list[str], body: dict[str, Any], mode: str | None) -> tuple[int, Any]:
        venue = self.server.venue
        if self.command == "DELETE" and mode == "reject_cancel":
            raise Refused(400, "cancel rejected")
        really = mode != "lie_cancel"
        match self.command, rest:
            case "POST", ["orders"]:
                new, order = venue.place(name, Request.parse(body))
                return (201 if new else 200), order
            case "GET", ["orders"]:
                asked = parse_qs(urlsplit(self.path).query)
                return 200, venue.orders(name, asked.get("all", ["0"])[-1] == "1")
            case "GET", ["orders", order_id]:
                return 200, venue.order(name, order_id)
            case "DELETE", ["orders"]:
                return 200, venue.cancel_all(name, really)
            case "DELETE", ["orders", order_id]:
                return 200, venue.cancel(name, order_id, really)
            case "GET", ["positions"]:
                return 200, venue.positions(name)
            case "GET", ["fills"]:
                return 200, venue.fills(name)
        raise Refused(404, f"unknown: {self.command} {self.path[:100]}")

    def _admin(self, what: str, body: dict[str, Any]) -> tuple[int, Any]:
        match self.command, what:
            case "GET", "faults":
                return 200, self.server.faults.shown()
            case "POST", "faults":
                answer = self.server.faults.switch(body)
                print(f"{utc_now()} faults: {json.dumps(answer['faults'])}", flush=True)
                return 200, answer
            case "POST", "tick":
                if not body:
                    return 200, self.server.venue.tick()
                symbol = matching(body.get("symbol"), SYMBOL, "symbol")
                return 200, self.server.venue.tick(symbol, number(body.get("price"), "price"))
        raise Refused(404, f"unknown: {self.command} {self.path[:100]}")


class Server(ThreadingHTTPServer):
    """The venue behind a listening socket."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], venue: Venue | None = None) -> None:
        self.venue = venue or Venue()
        self.faults = Faults()
        super().__init__(address, Handler)

    def server_bind(self) -> None:
        """Binds without http.server's reverse look-up of the host's name, which takes seconds where no DNS answers."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away or said nothing is its own business; anything else is our fault and is shown."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


def main(argv: list[str] | None = None) -> int:
    """Serves until SIGTERM or SIGINT.

    Returns:
        The exit code: 0 after a signal, 1 if the port cannot be had.
    """
    parser = argparse.ArgumentParser(description="The lab's venue: orders and positions over HTTP, with faults on demand.")
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on (default: all)")
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free one and says which (default: 8080)")
    parser.add_argument("--account", action="append", default=[], help="an account that is there from the start; repeatable")
    options = parser.parse_args(argv)
    for name in options.account:
        if not ACCOUNT.match(name):
            parser.error(f"--account {name!r} is not allowed: letters, digits and _.- only")
    # Blocked and waited for, not handled: nothing is interrupted, and the kernel keeps them for a PID 1 too.
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        server = Server((options.host, options.port), Venue(options.account))
    except (OSError, OverflowError) as error:
        print(f"venue: cannot listen on {options.host}:{options.port}: {error}; choose another --port", file=sys.stderr)
        return 1
    with server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        print(f"{utc_now()} venue: listening on http://{options.host}:{server.server_port}", flush=True)
        signal.sigwait(signals)
        server.shutdown()
    print(f"{utc_now()} venue: stopped", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
