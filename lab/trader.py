#!/usr/bin/env python3
"""The program in the lab's trading containers: it really trades at the lab's venue, and misbehaves when told to.

    python3 trader.py --name strat-a --venue http://venue:8080 --accounts FILE [--account ACC] [--role strategy|adapter|data]
    python3 trader.py --check [--port 9000]                 for a health check: exit 0 if healthy, else 1
    python3 trader.py --control '{"do": "hang"}' [--port 9000]   the switch, from inside the container

The venue speaks Bybit's v5 API, with signed requests; FILE is JSON, {"ACC": {"key": "...", "secret": "..."}}.
A strategy places a limit order each tick and then cancels the one before, so that one or two rest at any time; an
adapter asks the venue for its time; data only ticks. Each line goes to stdout and to LOG_DIR/NAME.log. On SIGTERM a
strategy takes its orders off the venue (2 s at most) and exits 0; killed outright, it leaves them there, as a real one
does.

    GET  /health    200 {"status": "ok", "ticks": n, ...}; 503 when unhealthy, or when it has not ticked for long
    POST /control   {"do": "leak", "mb_per_s": 5, "kind": "steady|sawtooth|cache|child", "max_mb": 1024}
                    {"do": "errors", "per_s": 5}    {"do": "crash", "code": 1}
                    {"do": "hang"}   {"do": "ignore_term"}   {"do": "unhealthy"}   {"do": "calm"}

`"stop": true` ends a fault, `calm` ends all. A hung program neither ticks nor answers /health nor heeds SIGTERM; only
/control still works. The same from the environment, for Compose (also hang, unhealthy):
TRADER_FAULTS=ignore_term,leak=5:sawtooth,errors=2,crash=1

Standard library only, Python 3.11 or newer, Linux. No authentication: this is for the lab's own network.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import hmac
import http.client
import json
import mmap
import os
import re
import secrets
import signal
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")
MIB = 1024 * 1024
ANSWER_LIMIT = 4 * MIB  # bytes of one answer from the venue
BODY_LIMIT = 64 * 1024  # bytes of one request to /control
VENUE_DEADLINE = 1.0  # seconds for one request; shorter than the grace of a stop, which has to fit several
WINDOW = "5000"  # milliseconds that a signed request is good for
CATEGORY = "linear"
PAGES = 20  # of 50 open orders each
GONE, DUPLICATE = 110001, 110072  # the venue's codes: no such open order; this client order id was used
UNCLEAR = (10000, 10016)  # codes after which the request may have taken effect: timeout, internal error
GOODBYE = 2.0  # seconds for taking the orders off after SIGTERM
STALE = 10.0  # seconds without a tick (or ten ticks' time, if that is longer) after which the program is unhealthy
LEAK_STEP = 0.1  # seconds between a leak's allocations
SAWTOOTH_REST = 1.5  # seconds at its floor: whoever looks once a second sees it, whatever the phase
KINDS = ("steady", "sawtooth", "cache", "child")
SWITCHES = ("hang", "ignore_term", "unhealthy")
SIGNALS = {signal.SIGTERM, signal.SIGINT}


class VenueError(Exception):
    """A request that failed.

    Args:
        code: the venue's own code; 0 if there was no answer in its form. Without one the request may have taken effect (`unknown`).
    """

    def __init__(self, words: str, code: int = 0) -> None:
        super().__init__(words)
        self.code = code
        self.unknown = not code or code in UNCLEAR


class Log:
    """Lines to stdout and to a file. Neither one's failure stops the program."""

    def __init__(self, name: str, folder: Path) -> None:
        self._name, self._path = name, folder / f"{name}.log"
        self._lock = threading.Lock()
        self._told = False

    def __call__(self, level: str, text: str) -> None:
        """Writes one line; whatever could break a line or paint a terminal is replaced."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        text = "".join(c if c.isprintable() else "?" for c in text[:500])
        line = f"{now} {level} {self._name} {text}\n".encode(errors="replace")
        with self._lock:
            with contextlib.suppress(OSError):  # stdout's reader is gone: there is nobody left to tell
                os.write(1, line)
            try:
                self._append(line)
            except OSError as error:
                self._tell(error)

    def _append(self, line: bytes) -> None:
        # Opened for each line: a rotated file or a late folder needs no thought. It never waits for a pipe's reader.
        out = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
        try:
            if os.write(out, line) < len(line):
                raise OSError("only a part of the line was written: the disk is full")
        finally:
            os.close(out)

    def _tell(self, error: OSError) -> None:
        if not self._told:
            self._told = True
            words = f"trader: cannot write {self._path}: {error.strerror or error}; going on with stdout only\n"
            with contextlib.suppress(OSError):
                os.write(2, words.encode(errors="replace"))


class VenueClient:
    """Asks a venue that speaks Bybit's v5 API; one connection per request, and no proxy from the environment.

    Args:
        url: http://host:port. key, secret: of the account; without them only public requests work.

    Raises:
        ValueError: the address makes no sense.
    """

    def __init__(self, url: str, key: str = "", secret: str = "") -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"the venue's address must look like http://host:port, not {url!r}")
        self._host, self._port = parts.hostname, parts.port or 80
        self._key, self._secret = key, secret

    def _signed(self, payload: str) -> dict[str, str]:
        stamp = str(time.time_ns() // 1_000_000)
        sign = hmac.new(self._secret.encode(), (stamp + self._key + WINDOW + payload).encode(), hashlib.sha256).hexdigest()
        return {"X-BAPI-API-KEY": self._key, "X-BAPI-TIMESTAMP": stamp, "X-BAPI-RECV-WINDOW": WINDOW, "X-BAPI-SIGN": sign}

    def ask(self, method: str, path: str, asked: dict[str, Any] | None = None) -> dict[str, Any]:
        """One request; gives the answer's `result`.

        Args:
            asked: the body of a POST, the query of a GET.

        Raises:
            VenueError: no answer, one in another form, or a code other than 0.
        """
        payload = json.dumps(asked or {}) if method == "POST" else urlencode(asked or {})
        target, body = (path, payload) if method == "POST" else (f"{path}?{payload}" if payload else path, None)
        headers = {"Content-Type": "application/json", **(self._signed(payload) if self._key else {})}
        connection = http.client.HTTPConnection(self._host, self._port, timeout=VENUE_DEADLINE)
        try:
            connection.request(method, target, body, headers)
            reply = connection.getresponse()
            raw = reply.read(ANSWER_LIMIT)
        except (OSError, http.client.HTTPException) as error:
            raise VenueError(f"no answer from the venue ({type(error).__name__}: {error})") from None
        finally:
            connection.close()
        try:
            answer = json.loads(raw)
            code, result = int(answer["retCode"]), answer["result"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise VenueError(f"the venue says {reply.status}, not in its own form") from None
        if code or not isinstance(result, dict):
            raise VenueError(f"the venue says {code}: {answer.get('retMsg')}", code)
        return result

    def place(self, order: dict[str, Any]) -> str | None:
        """Places an order. Asking again with the same client order id is safe: it cannot become a second one.

        Returns:
            its id; None if an earlier request with this client order id was taken and the order is closed by now.
        """
        try:
            answer = self.ask("POST", "/v5/order/create", {"category": CATEGORY, **order})
        except VenueError as error:
            if error.code != DUPLICATE:
                raise
            known = [o for o in self.open_orders(order["symbol"]) if o.get("orderLinkId") == order["orderLinkId"]]
            return str(known[0].get("orderId")) if known else None
        if not isinstance(answer.get("orderId"), str):
            raise VenueError("the venue answered something that is not an order")
        return answer["orderId"]

    def open_orders(self, symbol: str) -> list[dict[str, Any]]:
        """The account's open orders of a symbol."""
        found: list[dict[str, Any]] = []
        asked = {"category": CATEGORY, "symbol": symbol, "limit": "50"}
        for _ in range(PAGES):
            answer = self.ask("GET", "/v5/order/realtime", asked)
            if not isinstance(answer.get("list"), list):
                raise VenueError("the venue answered something that is not a list of orders")
            found += [order for order in answer["list"] if isinstance(order, dict)]
            if not answer.get("nextPageCursor"):
                return found
            asked["cursor"] = str(answer["nextPageCursor"])
        raise VenueError(f"the venue has more than {len(found)} open orders")

    def cancel(self, symbol: str, order_id: str) -> bool:
        """Cancels one order; False if it was not open any more."""
        try:
            self.ask("POST", "/v5/order/cancel", {"category": CATEGORY, "symbol": symbol, "orderId": order_id})
        except VenueError as error:
            if error.code == GONE:
                return False
            raise
        return True


class Strategy:
    """Keeps one or two orders at the venue.

    Args:
        order: symbol, side, orderType, qty, price, as the venue wants them. prefix: its client order ids begin with this.
    """

    def __init__(self, name: str, venue: VenueClient, order: dict[str, str], log: Log, prefix: str = "") -> None:
        self._venue, self._order, self._log = venue, order, log
        # Another run's orders, and those of a namesake on another host, are not ours to cancel. The venue allows 36 characters.
        self._prefix = f"{prefix}{name}-{secrets.token_hex(3)}-"
        self._pending: str | None = None
        self.resting: list[str] = []

    def tick(self, n: int) -> None:
        """Places an order and cancels the older ones. While cancels fail nothing new is placed."""
        if len(self.resting) < 2:
            self._place(n)
        for order_id in self.resting[:-1]:
            self._cancel(n, order_id)

    def _place(self, n: int) -> None:
        # After an unknown outcome the same client id is asked for again: it cannot become a second order.
        self._pending = self._pending or f"{self._prefix}{n}"
        try:
            placed = self._venue.place({"orderLinkId": self._pending, **self._order})
        except VenueError as error:
            if not error.unknown:
                self._pending = None
            self._log("ERROR", f"tick {n} order not placed: {error}")
            return
        self._pending = None
        if placed is None:
            self._log("INFO", f"tick {n} the order without an answer was closed already")
            return
        self.resting.append(placed)
        o = self._order
        self._log("INFO", f"tick {n} order {placed} {o['side']} {o['qty']} {o['symbol']} at {o['price']}, {len(self.resting)} resting")

    def _cancel(self, n: int, order_id: str) -> None:
        try:
            if not self._venue.cancel(self._order["symbol"], order_id):
                self._log("INFO", f"tick {n} order {order_id} was closed already")
            self.resting.remove(order_id)
        except VenueError as error:
            self._log("ERROR", f"tick {n} order {order_id} not cancelled: {error}")

    def withdraw(self) -> int:
        """Cancels every open order of this run, as the venue lists them.

        Returns:
            How many were cancelled.

        Raises:
            VenueError: some may still rest; each was tried.
        """
        symbol = self._order["symbol"]
        ours = [o.get("orderId") for o in self._venue.open_orders(symbol) if str(o.get("orderLinkId")).startswith(self._prefix)]
        cancelled, failed = 0, None
        for order_id in ours:
            try:
                cancelled += self._venue.cancel(symbol, str(order_id))
            except VenueError as error:
                failed = error
        if failed:
            raise failed
        return cancelled


def touched(count: int) -> mmap.mmap:
    """Memory that is really there: private, anonymous, every page written; closing it gives it back at once.

    Args:
        count: bytes.

    Raises:
        OSError: the system has no more.
    """
    block = mmap.mmap(-1, count, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for offset in range(0, count, mmap.PAGESIZE):
        block[offset] = 1
    return block


def grow(stop: threading.Event, mb_per_s: float, max_mb: float, sawtooth: bool) -> None:
    """Takes memory until told to stop, then gives it back.

    Args:
        stop: ends it.
        mb_per_s: MiB per second.
        max_mb: MiB; a steady leak stays there, a sawtooth falls back to nothing, rests and begins again.
        sawtooth: which of the two.
    """
    blocks: list[mmap.mmap] = []
    step = max(int(min(mb_per_s * LEAK_STEP, max_mb) * MIB), mmap.PAGESIZE)
    try:
        while not stop.wait(LEAK_STEP):
            if (len(blocks) + 1) * step <= max_mb * MIB:
                blocks.append(touched(step))
            elif sawtooth:
                while blocks:
                    blocks.pop().close()
                stop.wait(SAWTOOTH_REST)
    finally:
        for block in blocks:
            block.close()


def fill_cache(stop: threading.Event, mb_per_s: float, max_mb: float, folder: Path) -> None:
    """Writes a file and then reads it over and over: much page cache, no leak. The file has no name; none is left."""
    step = max(int(min(mb_per_s * LEAK_STEP, max_mb) * MIB), mmap.PAGESIZE)
    where = folder if os.access(folder, os.W_OK) else None
    with tempfile.TemporaryFile(dir=where, buffering=0) as file:
        size = 0
        while not stop.wait(LEAK_STEP):
            if size + step <= max_mb * MIB:
                size += file.write(b"\xa5" * step)
                os.fdatasync(file.fileno())  # clean pages: cache that the kernel can drop, not data that it must keep
            elif not file.read(step):
                file.seek(0)


def leak_child(mb_per_s: float, max_mb: float) -> int:
    """The leaking child process: ends when its parent's pipe closes, however the parent went."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.buffer.read(), stop.set()), daemon=True).start()
    grow(stop, mb_per_s, max_mb, sawtooth=False)
    return 0


def leak_in_child(stop: threading.Event, mb_per_s: float, max_mb: float) -> None:
    """Runs the leaking child until told to stop.

    Raises:
        OSError: it ended by itself (the kernel killed it, most likely).
    """
    command = [sys.executable, str(Path(__file__).resolve()), "--leak-child", str(mb_per_s), str(max_mb)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as child:
        try:
            while not stop.wait(LEAK_STEP):
                if child.poll() is not None:
                    raise OSError(f"the leaking child ended with {child.returncode}")
        finally:
            child.kill()


class Work(threading.Thread):
    """A fault that runs by itself until it is stopped; what goes wrong in it is an ERROR line."""

    def __init__(self, log: Log, run: Callable[[threading.Event], None]) -> None:
        super().__init__(daemon=True)
        self._log, self._run, self._end = log, run, threading.Event()

    def run(self) -> None:
        """Does the work."""
        try:
            self._run(self._end)
        except (OSError, MemoryError) as error:
            self._log("ERROR", f"{type(error).__name__}: {error}")

    def stop(self) -> None:
        """Ends it and waits until it has given back what it took (5 s at most)."""
        self._end.set()
        self.join(5)


def amount(request: dict[str, Any], key: str, default: float, most: float) -> float:
    """A number from a request, from 0.001 to the most that is allowed; ValueError otherwise."""
    value = request.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.001 <= value <= most:
        raise ValueError(f"{key} must be a number from 0.001 to {most:g}")
    return value


class Faults:
    """What the program was told to do wrong."""

    def __init__(self, log: Log, folder: Path) -> None:
        self._log, self._folder = log, folder
        self._changed = threading.Condition()
        self._on: set[str] = set()
        self._work: dict[str, Work] = {}

    def on(self, switch: str) -> bool:
        """True while a switch is on."""
        with self._changed:
            return switch in self._on

    def names(self) -> list[str]:
        """The faults that are on."""
        with self._changed:
            return sorted(self._on | {name for name, work in self._work.items() if work.is_alive()})

    def wait_while_hanging(self, seconds: float) -> bool:
        """Waits for the end of the hang; True if it still hangs after so many seconds."""
        with self._changed:
            return not self._changed.wait_for(lambda: "hang" not in self._on, seconds)

    def apply(self, request: dict[str, Any]) -> Callable[[], None] | None:
        """Does what a request asks.

        Returns:
            None, or (for a crash) what is to be called once the answer is sent; it does not return.

        Raises:
            ValueError: the request makes no sense; nothing was changed.
        """
        do, stop = request.get("do"), request.get("stop", False)
        if not isinstance(stop, bool):
            raise ValueError("stop must be true or false")
        if do == "crash":
            code = request.get("code", 1)
            if isinstance(code, bool) or not isinstance(code, int) or not 0 <= code <= 255:
                raise ValueError("code must be a whole number from 0 to 255")
            return lambda: self._crash(code)
        if do == "calm":
            self._calm()
        elif do in SWITCHES:
            self._switch(do, not stop)
        elif do in ("leak", "errors"):
            # Made first: a request that makes no sense leaves the running one alone.
            work = None if stop else Work(self._log, self._leak(request) if do == "leak" else self._errors(request))
            self._replace(do, work)
        else:
            raise ValueError(f"do must be one of: leak, errors, crash, calm, {', '.join(SWITCHES)}")
        self._log("INFO", f"control: {do}{' stop' if stop else ''}; on: {', '.join(self.names()) or 'nothing'}")
        return None

    def _switch(self, name: str, on: bool) -> None:
        with self._changed:
            (self._on.add if on else self._on.discard)(name)
            self._changed.notify_all()

    def _replace(self, name: str, work: Work | None) -> None:
        with self._changed:
            old = self._work.pop(name, None)
            if old:
                old.stop()
            if work:
                self._work[name] = work
                work.start()

    def _calm(self) -> None:
        for name in SWITCHES:
            self._switch(name, False)
        for name in ("leak", "errors"):
            self._replace(name, None)

    def _crash(self, code: int) -> None:
        self._log("ERROR", f"crash: told to exit with code {code}")
        os._exit(code)

    def _leak(self, request: dict[str, Any]) -> Callable[[threading.Event], None]:
        kind = request.get("kind", "steady")
        if kind not in KINDS:
            raise ValueError(f"kind must be one of: {', '.join(KINDS)}")
        speed = amount(request, "mb_per_s", 5, 1000)
        # A bound even without a memory limit, so that a forgotten leak does not take the machine down.
        most = amount(request, "max_mb", {"sawtooth": 10 * speed, "cache": 256}.get(kind, 1024), 65536)
        if kind == "cache":
            return lambda stop: fill_cache(stop, speed, most, self._folder)
        if kind == "child":
            return lambda stop: leak_in_child(stop, speed, most)
        return lambda stop: grow(stop, speed, most, kind == "sawtooth")

    def _errors(self, request: dict[str, Any]) -> Callable[[threading.Event], None]:
        pause = 1 / amount(request, "per_s", 5, 1000)

        def run(stop: threading.Event) -> None:
            n = 0
            while not stop.wait(pause):
                n += 1
                self._log("ERROR", f"order rejected: insufficient margin (error {n})")

        return run


def from_environment(words: str) -> Iterator[dict[str, Any]]:
    """The requests that TRADER_FAULTS stands for: ignore_term,hang,unhealthy,leak=5,leak=5:child,errors=2,crash=1.

    Raises:
        ValueError: a word that is not understood.
    """
    keys = {"leak": ("mb_per_s", float), "errors": ("per_s", float), "crash": ("code", int)}
    for word in filter(None, (w.strip() for w in words.split(","))):
        do, _, value = word.partition("=")
        value, _, kind = value.partition(":")
        if (value and do not in keys) or (kind and do != "leak"):
            raise ValueError(f"{word!r} is not understood")
        request: dict[str, Any] = {"do": do}
        if value:
            key, to = keys[do]
            try:
                request[key] = to(value)
            except ValueError:
                raise ValueError(f"{word!r}: {value!r} is not a number") from None
        yield {**request, "kind": kind} if kind else request


def key_of(options: argparse.Namespace) -> tuple[str, str]:
    """Key and secret of the account; empty ones if no file was given.

    Raises:
        ValueError: the file cannot be read, or does not have them.
    """
    if not options.accounts:
        return "", ""
    try:
        one = json.loads(options.accounts.read_text())[options.account]
        return str(one["key"]), str(one["secret"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"--accounts {options.accounts} has no key and secret for {options.account} ({type(error).__name__})") from None


class Trader:
    """The program: one thread ticks, one serves health and control, the main one waits for signals."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.name, self.role, self.every = options.name, options.role, options.every
        self.log = Log(options.name, options.log_dir)
        self.faults = Faults(self.log, options.log_dir)
        self.venue = VenueClient(options.venue, *key_of(options)) if options.venue else None
        self.strategy: Strategy | None = None
        if self.role == "strategy" and self.venue:
            order = {"symbol": options.symbol, "side": "Buy", "orderType": "Limit", "qty": "0.01", "price": f"{options.price:.12g}"}
            prefix = f"{options.prefix}{options.instance}-" if options.instance else options.prefix
            self.strategy = Strategy(self.name, self.venue, order, self.log, prefix)
        self.ticks = 0
        self._last = time.monotonic()
        self._stopping = threading.Event()
        self._worker = threading.Thread(target=self._tick_on, daemon=True)

    def start(self, port: int) -> None:
        """Begins to tick; `port` (where control listens) is only for the log."""
        self.log("INFO", f"started pid {os.getpid()} role {self.role} port {port}")
        self._worker.start()

    def _tick_on(self) -> None:
        while not self._stopping.is_set():
            if not self.faults.wait_while_hanging(0.2):
                self._tick(self.ticks + 1)
                self.ticks, self._last = self.ticks + 1, time.monotonic()
                self._stopping.wait(self.every)

    def _tick(self, n: int) -> None:
        if self.strategy:
            self.strategy.tick(n)
        elif self.role == "adapter" and self.venue:
            try:
                self.log("INFO", f"tick {n} venue time {self.venue.ask('GET', '/v5/market/time').get('timeSecond')}")
            except VenueError as error:
                self.log("ERROR", f"tick {n} venue time unknown: {error}")
        else:
            self.log("INFO", f"tick {n} alive")

    def health(self) -> tuple[int, dict[str, Any]]:
        """The status and body of an answer to GET /health."""
        status = "ok"
        if self.faults.on("unhealthy"):
            status = "unhealthy"
        elif time.monotonic() - self._last > max(STALE, 10 * self.every):
            status = "stale"
        answer = {"status": status, "ticks": self.ticks, "name": self.name, "role": self.role}
        return (200 if status == "ok" else 503), {**answer, "faults": self.faults.names()}

    def wait(self) -> None:
        """Returns when a signal says to stop; an ignored one is only logged, and a hung program does not even that."""
        while True:
            got = signal.Signals(signal.sigwait(SIGNALS)).name
            if self.faults.on("hang"):
                continue
            if not self.faults.on("ignore_term"):
                self.log("INFO", f"{got}: stopping")
                return
            self.log("WARNING", f"{got} ignored")

    def stop(self) -> None:
        """Stops ticking and takes the orders off the venue, GOODBYE seconds at most; what may still rest is said."""
        self._stopping.set()
        done: list[str] = []
        goodbye = threading.Thread(target=self._goodbye, args=(done,), daemon=True)
        goodbye.start()
        goodbye.join(GOODBYE)
        if not done:
            self.log("ERROR", f"orders may still rest at the venue: no end after {GOODBYE:g} s")
        self.log("INFO", done[0] if done else "stopped, orders not cancelled")

    def _goodbye(self, done: list[str]) -> None:
        self._worker.join()  # an order that is being placed right now must be seen by the list below
        if not self.strategy:
            done.append("stopped")
            return
        try:
            done.append(f"stopped, orders cancelled: {self.strategy.withdraw()}")
        except VenueError as error:
            self.log("ERROR", f"orders may still rest at the venue: {error}")
            done.append("stopped, orders not cancelled")


class Handler(BaseHTTPRequestHandler):
    """GET /health and POST /control."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version = "trader"
    timeout = 10  # seconds that a silent client may keep a thread
    wbufsize = -1  # one segment per answer

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: the log is the trader's own."""

    def _reply(self, status: int, answer: dict[str, Any]) -> None:
        raw = json.dumps(answer).encode()
        self.close_connection = True
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(raw)
        self.wfile.flush()

    def do_GET(self) -> None:
        """Health; a hung program keeps the client waiting."""
        trader = self.server.trader
        if self.path != "/health":
            self._reply(404, {"error": "unknown: try GET /health or POST /control"})
        elif trader.faults.wait_while_hanging(30):
            self.close_connection = True
        else:
            self._reply(*trader.health())

    def do_POST(self) -> None:
        """Control."""
        if self.path != "/control":
            self._reply(404, {"error": "unknown: try GET /health or POST /control"})
            return
        try:
            then = self.server.trader.faults.apply(self._body())
        except (ValueError, RecursionError) as error:
            self._reply(400, {"error": str(error)[:300]})
            return
        self._reply(200, {"status": "done", "faults": self.server.trader.faults.names()})
        if then:
            then()

    def _body(self) -> dict[str, Any]:
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"[0-9]{1,9}", length) or int(length) > BODY_LIMIT:
            raise ValueError(f"send a Content-Length of at most {BODY_LIMIT} bytes")
        body = json.loads(self.rfile.read(int(length)))
        if not isinstance(body, dict):
            raise ValueError("the body must be a JSON object")
        return body


class Server(ThreadingHTTPServer):
    """The trader's own port."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], trader: Trader) -> None:
        self.trader = trader
        super().__init__(address, Handler)

    def server_bind(self) -> None:
        """Binds without http.server's reverse look-up of the host's name, which takes seconds where no DNS answers."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is its own business; anything else becomes a line."""
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError | TimeoutError):
            self.trader.log("ERROR", f"control: {type(error).__name__}: {error}")


def ask_own(port: int, method: str, path: str, body: str | None = None) -> int:
    """Asks the running program on this machine (for a health check or the switch) and prints its answer.

    Returns:
        The exit code: 0 if it answered 200 within 2 s, else 1.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request(method, path, body)
        reply = connection.getresponse()
        print(reply.read(ANSWER_LIMIT).decode(errors="replace"))
        return 0 if reply.status == 200 else 1
    except (OSError, http.client.HTTPException) as error:
        print(f"no answer on port {port}: {type(error).__name__}: {error}")
        return 1
    finally:
        connection.close()


def positive(text: str) -> float:
    """An argument that must be a number greater than 0 and at most 1e9."""
    value = float(text)
    if not 0 < value <= 1e9:
        raise ValueError(text)
    return value


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The options; ends the program with code 2 and a sentence if they make no sense."""
    parser = argparse.ArgumentParser(description="A strategy, an adapter or a data process for the lab.")
    parser.add_argument("--name", help="the component's name; also the log file's and the default account's")
    parser.add_argument("--role", choices=("strategy", "adapter", "data"), default="strategy")
    parser.add_argument("--venue", help="http://host:port of the lab's venue; a strategy needs it")
    parser.add_argument("--accounts", type=Path, help="JSON with the account's key and secret; a strategy needs it")
    parser.add_argument("--account", default="main", help="whose key of the file to take (default: main)")
    parser.add_argument("--prefix", default="", help="of the client order ids")
    parser.add_argument("--instance", default="", help="where it runs; the client order ids name it after the prefix")
    parser.add_argument("--symbol", default="BTCUSDT")
    parser.add_argument("--price", type=positive, default=54_000.0, help="of the orders; far enough off to rest")
    parser.add_argument("--every", type=positive, default=0.5, metavar="SECONDS", help="between two ticks")
    parser.add_argument("--log-dir", type=Path, default=Path("/var/log/trading"))
    parser.add_argument("--host", default="0.0.0.0", help="address for health and control (default: all)")
    parser.add_argument("--port", type=int, default=9000, help="for health and control; 0 takes a free one")
    parser.add_argument("--ignore-term", action="store_true", help="go on after SIGTERM")
    parser.add_argument("--check", action="store_true", help="ask the running program's health, and exit 0 or 1")
    parser.add_argument("--control", metavar="JSON", help="send the running program a control request")
    parser.add_argument("--leak-child", nargs=2, type=positive, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.check or options.control is not None or options.leak_child:
        return options
    if not options.name or not NAME.match(options.name):
        parser.error("--name is needed: letters, digits and _.- only, 64 at most")
    if options.role == "strategy" and not (options.venue and options.accounts):
        parser.error("a strategy needs --venue http://host:port and --accounts FILE")
    return options


def main(argv: list[str] | None = None) -> int:
    """Runs until a signal.

    Returns:
        The exit code: 0 after SIGTERM or SIGINT (or a good --check); 1 if the port cannot be had (or a bad --check);
        2 for options or TRADER_FAULTS that make no sense.
    """
    options = parse(argv)
    if options.leak_child:
        return leak_child(*options.leak_child)
    if options.check:
        return ask_own(options.port, "GET", "/health")
    if options.control is not None:
        return ask_own(options.port, "POST", "/control", options.control)
    # Blocked before any thread begins and then waited for: as PID 1 a signal without a handler would be dropped, and a
    # handler could run in the middle of anything.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        trader = Trader(options)
        server = Server((options.host, options.port), trader)
    except ValueError as error:
        print(f"trader: {error}", file=sys.stderr)
        return 2
    except (OSError, OverflowError) as error:
        print(f"trader: cannot listen on {options.host}:{options.port}: {error}; choose another --port", file=sys.stderr)
        return 1
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        if options.ignore_term:
            trader.faults.apply({"do": "ignore_term"})
        for request in from_environment(os.environ.get("TRADER_FAULTS", "")):
            then = trader.faults.apply(request)
            if then:
                then()
    except ValueError as error:
        print(f"trader: TRADER_FAULTS: {error}", file=sys.stderr)
        return 2
    trader.start(server.server_port)
    trader.wait()
    trader.stop()
    return 0


if __name__ == "__main__":
    code = main()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    # Threads that still wait for a venue must not hold the exit back, nor trip over the interpreter's end.
    os._exit(code)
