"""A small Freqtrade REST API with the traps of the real one (2026.9), for adapters' tests.

Kept: an acknowledged /pause or /stop that the loop follows later, /pause that starts a stopped bot, commands that a stopped bot
refuses with 502, 500 as plain text for a vanished position, DELETE open-order that answers 200 while the order rests and 502 when
it is gone, reload_config that applies initial_state from the files, locks that survive all of it.
"""

from __future__ import annotations

import base64
import contextlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Bot:
    """The bot behind the API.

    Attributes:
        state: what show_config says. calls: (method, path, body) of all that came in. faults: switches by name:
            slow_loop (s until the loop follows), hang (a path's beginning that never answers), lying_cancel, gone (trade ids whose
            position vanished), broken_config, down.
    """

    def __init__(self) -> None:
        self.state, self.initial_state, self.stake, self.max_trades = "running", "running", 100, 3
        self.size_file: Any = None
        self.locks: dict[int, dict[str, Any]] = {}
        self.trades: dict[int, dict[str, Any]] = {}
        self.logs: list[list[Any]] = []
        self.calls: list[tuple[str, str, Any]] = []
        self.faults: dict[str, Any] = {}
        self.guard = threading.RLock()

    def trade(self, number: int, amount: float = 0.5, orders: int = 0, pair: str = "BTC/USDT:USDT", short: bool = False) -> None:
        self.trades[number] = {
            "trade_id": number,
            "pair": pair,
            "is_short": short,
            "amount": amount,
            "open_rate": 100.0,
            "has_open_orders": bool(orders),
            "orders": [{"order_id": f"o{number}-{n}", "is_open": True} for n in range(orders)],
        }

    def turn(self, state: str) -> None:
        """The API's word at once, the worker's line when the loop follows."""
        old, self.state = self.state, state
        line = f"Changing state{f' from {old.upper()}' if old else ''} to: {state.upper()}"

        def follow() -> None:
            now = time.time()
            self.logs.append(["", int(now * 1000), "freqtrade.worker", "INFO", line])

        delay = self.faults.get("slow_loop", 0)
        if delay:
            timer = threading.Timer(delay, follow)
            timer.daemon = True
            timer.start()
        else:
            follow()

    def posted(self) -> list[tuple[str, str]]:
        return [(method, path) for method, path, _ in self.calls if method != "GET"]

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        where, _, _ = path.partition("?")
        parts = where.strip("/").split("/")
        if method == "GET":
            return self._get(where)
        if where == "/locks":
            for one in body:
                number = max(self.locks, default=0) + 1
                self.locks[number] = {"id": number, "active": True, **one}
            return 200, {"lock_count": len(self.locks), "locks": list(self.locks.values())}
        if parts[0] == "locks" and method == "DELETE":
            self.locks.pop(int(parts[1]), None)
            return 200, {"lock_count": len(self.locks), "locks": list(self.locks.values())}
        if where == "/pause":
            if self.state != "paused":
                self.turn("paused")
            return 200, {"status": "paused"}
        if where == "/stop":
            self.turn("stopped")
            return 200, {"status": "stopping trader ..."}
        if where == "/start":
            if self.state != "running":
                self.turn("running")
            return 200, {"status": "starting trader ..."}
        if where == "/reload_config":
            return self._reload()
        if where == "/forceexit":
            return self._exit(body)
        if parts[0] == "trades" and parts[-1] == "open-order":
            return self._cancel(int(parts[1]))
        return 404, {"detail": "Not Found"}

    def _get(self, where: str) -> tuple[int, Any]:
        rows = {
            "/ping": {"status": "pong"},
            "/show_config": {"state": self.state, "stake_amount": self.stake, "max_open_trades": self.max_trades},
            "/health": {"last_process_ts": int(time.time())},
            "/locks": {"lock_count": len(self.locks), "locks": list(self.locks.values())},
            "/status": list(self.trades.values()),
            "/logs": {"log_count": len(self.logs), "logs": self.logs},
            "/trades": {"trades": [], "trades_count": 0},
        }
        return (200, rows[where]) if where in rows else (404, {"detail": "Not Found"})

    def _reload(self) -> tuple[int, Any]:
        size = self.size_file() if callable(self.size_file) else self.size_file
        if size is None:
            size = {}
        self.stake, self.max_trades = size.get("stake_amount", self.stake), size.get("max_open_trades", self.max_trades)
        self.turn(size.get("initial_state", self.initial_state))
        return 200, {"status": "Reloading config ..."}

    def _exit(self, body: Any) -> tuple[int, Any]:
        if self.state == "stopped":
            return 502, {"error": "Error querying /api/v1/forceexit: trader is not running"}
        wanted = list(self.trades) if body["tradeid"] == "all" else [int(body["tradeid"])]
        for number in wanted:
            if number in self.faults.get("gone", ()):
                return 500, "Internal Server Error"
            self.trades.pop(number, None)
        return 200, {"result": "Created exit order."}

    def _cancel(self, number: int) -> tuple[int, Any]:
        if self.state == "stopped":
            return 502, {"error": "Error querying: trader is not running"}
        trade = self.trades.get(number)
        if trade is None or not trade["has_open_orders"]:
            return 502, {"error": "Error querying: No open order for trade_id."}
        if self.faults.get("lying_cancel"):
            return 200, trade
        trade.update(has_open_orders=False, orders=[])
        if trade["amount"] == 0:
            del self.trades[number]
            return 502, {"error": "Error querying: no active trade"}
        return 200, trade


class Handler(BaseHTTPRequestHandler):
    server: Server

    def _serve(self) -> None:
        bot = self.server.bot
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        path = self.path.removeprefix("/api/v1")
        if bot.faults.get("hang") and path.startswith(bot.faults["hang"]):
            bot.calls.append((self.command, path, body))
            self.server.ending.wait(30)
            return
        wanted = "Basic " + base64.b64encode(b"ops:" + self.server.password.encode()).decode()
        if path != "/ping" and self.headers.get("Authorization") != wanted:
            code, answer = 401, {"detail": "Incorrect username or password"}
        else:
            with bot.guard:
                bot.calls.append((self.command, path, body))
                code, answer = bot.answer(self.command, path, body)
        text = answer if isinstance(answer, str) else json.dumps(answer)
        self.send_response(code)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    do_GET = do_POST = do_DELETE = _serve

    def log_message(self, *args: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, bot: Bot, password: str = "ft-secret-pw") -> None:  # noqa: S107  (of the fake)
        super().__init__(("127.0.0.1", 0), Handler)
        self.bot, self.password, self.ending = bot, password, threading.Event()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/api/v1"

    def close(self) -> None:
        self.ending.set()
        self.shutdown()
        self.server_close()


@contextlib.contextmanager
def running() -> Iterator[Bot]:
    """A bot whose API answers at C(bot.url)."""
    bot = Bot()
    server = Server(bot)
    bot.url = server.url
    try:
        yield bot
    finally:
        server.close()
