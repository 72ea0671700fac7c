"""A real Freqtrade (its own virtual environment, `./dev test freqtrade`) that trades on the simulated venue over loopback."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ccxt
import pytest

from lab.bybit_market import Market
from lab.bybit_sim import Server

ROOT = Path(__file__).resolve().parents[2]
FREQTRADE = ROOT / ".venv-freqtrade" / "bin" / "freqtrade"
USER, PASSWORD = "ops", "correct-horse"
GUARD = 90.0  # seconds: when a test gives up on a machine that is busy; nothing is measured against it
BTC, ETH = "BTC/USDT:USDT", "ETH/USDT:USDT"

STRATEGY = '''
"""Enters every pair at once and never leaves on its own accord."""
from freqtrade.strategy import IStrategy


class Eager(IStrategy):
    INTERFACE_VERSION = 3
    timeframe = "1m"
    minimal_roi = {"0": 100}
    stoploss = -0.5
    can_short = False
    process_only_new_candles = False
    startup_candle_count = 0

    def populate_indicators(self, dataframe, metadata):
        return dataframe

    def populate_entry_trend(self, dataframe, metadata):
        dataframe["enter_long"] = 1
        return dataframe

    def populate_exit_trend(self, dataframe, metadata):
        return dataframe
'''


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(true: Callable[[], Any], what: str, guard: float = GUARD) -> Any:
    """Waits for something to be true and returns it."""
    end = time.monotonic() + guard
    while not (found := true()):
        assert time.monotonic() < end, f"waited {guard:.0f} s in vain for: {what}"
        time.sleep(0.05)
    return found


@dataclass
class Answer:
    """An answer of Freqtrade's API. `data` is the JSON in it, None when there is none."""

    status: int
    text: str

    @property
    def data(self) -> Any:
        try:
            return json.loads(self.text)
        except ValueError:
            return None


class Bot:
    """One Freqtrade: its folder outlives its process, as a container's volume does."""

    def __init__(self, folder: Path, venue: Server, **more: Any) -> None:
        self.folder, self.venue = folder, venue
        self.port = free_port()
        self.base_url = f"http://127.0.0.1:{self.port}/api/v1"
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True)
        (folder / "user_data" / "strategies").mkdir(parents=True)
        (folder / "user_data" / "strategies" / "eager.py").write_text(STRATEGY)
        self.config: dict[str, Any] = {
            "bot_name": "eager",
            "strategy": "Eager",
            "dry_run": False,
            "trading_mode": "futures",
            "margin_mode": "isolated",
            "stake_currency": "USDT",
            "stake_amount": 100,
            "max_open_trades": 2,
            "initial_state": "running",
            "unfilledtimeout": {"entry": 60, "exit": 60, "unit": "minutes"},
            "order_types": {"entry": "limit", "exit": "limit", "stoploss": "market", "stoploss_on_exchange": True, "stoploss_on_exchange_interval": 60},
            "entry_pricing": {"price_side": "same", "use_order_book": True, "order_book_top": 1},
            "exit_pricing": {"price_side": "same", "use_order_book": True, "order_book_top": 1},
            "exchange": {
                "name": "bybit",
                "key": venue.account.key,
                "secret": venue.account.secret,
                "enable_ws": False,
                "pair_whitelist": [BTC, ETH],
                # Loopback in every kind of URL: checked below, before anything starts.
                "ccxt_config": {
                    "urls": {"api": dict.fromkeys(("spot", "futures", "v2", "public", "private"), venue.url)},
                    "enableRateLimit": False,
                    "options": {"fetchMarkets": {"types": ["linear"]}},
                },
            },
            "pairlists": [{"method": "StaticPairList"}],
            "api_server": {
                "enabled": True,
                "listen_ip_address": "127.0.0.1",
                "listen_port": self.port,
                "username": USER,
                "password": PASSWORD,
                "jwt_secret_key": "a-secret-for-nobody-but-this-test-0123456789",
                "verbosity": "error",
            },
            "internals": {"process_throttle_secs": 1},
            **more,
        }
        # No test reaches a real venue: what ccxt makes of this configuration has the simulator's address and no other.
        addresses = set(ccxt.bybit(dict(self.config["exchange"]["ccxt_config"])).urls["api"].values())
        assert addresses == {venue.url} and venue.url.startswith("http://127.0.0.1:"), addresses
        self.write(self.config)
        self.overlay = folder / "incident.json"  # the second configuration file: empty until an incident
        self.overlay.write_text("{}")

    def write(self, config: dict[str, Any]) -> None:
        (self.folder / "config.json").write_text(json.dumps(config))

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def start(self, wait: bool = True) -> Bot:
        configs = ["--config", str(self.folder / "config.json"), "--config", str(self.overlay)]
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [str(FREQTRADE), "trade", *configs, "--userdir", str(self.folder / "user_data"), "--db-url", f"sqlite:///{self.folder}/trades.sqlite"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                # Nothing of the person's own environment (FREQTRADE__… would be configuration); one thread for the mathematics.
                env={"PATH": os.environ["PATH"], "HOME": str(self.folder), "LC_ALL": "C.UTF-8", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )
        if wait:
            until(self.answers, "Freqtrade's API to answer")
        return self

    def answers(self) -> bool:
        assert self.process is not None and self.process.poll() is None, f"Freqtrade ended with {self.process and self.process.returncode}:\n{self.log[-4000:]}"
        try:
            return self.call("GET", "/show_config").status == 200
        except OSError:
            return False

    def end(self, signum: int = signal.SIGTERM, guard: float = GUARD) -> int:
        """Sends a signal and waits for the exit code, from below zero when the signal itself ended it."""
        assert self.process is not None
        self.process.send_signal(signum)
        return self.process.wait(guard)

    def call(self, method: str, path: str, body: Any = None, token: str | None = None, timeout: float = 60) -> Answer:
        if token is None:
            token = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **({"Authorization": token} if token else {})}
        request = urllib.request.Request(self.base_url + path, data=data, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as reply:
                return Answer(reply.status, reply.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.read().decode())

    def get(self, path: str) -> Any:
        answer = self.call("GET", path)
        assert answer.status == 200, answer
        return answer.data

    def post(self, path: str, body: Any = None) -> Answer:
        return self.call("POST", path, body)

    @property
    def state(self) -> str:
        return str(self.get("/show_config")["state"])

    def logged(self, words: str, since: float = 0.0) -> bool:
        """If a line of GET /logs since then (seconds) has these words."""
        return any(words in row[4] and row[1] / 1000 >= since for row in self.get("/logs")["logs"])

    def changed(self, state: str, since: float) -> None:
        """Waits for the worker's own word that it is in a state: the acknowledgement and show_config say so too early."""
        until(lambda: self.logged(f"to: {state}", since), f"the worker to say to: {state}")

    def trades(self) -> list[dict[str, Any]]:
        return self.get("/status")

    def trade(self, pair: str) -> dict[str, Any]:
        (row,) = [t for t in self.trades() if t["pair"] == pair]
        return row

    def lock(self) -> int:
        """Locks all pairs for an hour; the lock's id."""
        until_ = time.strftime("%Y-%m-%d %H:%M:%S+00:00", time.gmtime(time.time() + 3600))
        answer = self.post("/locks", [{"pair": "*", "side": "*", "until": until_, "reason": "INC-1"}])
        assert answer.status == 200, answer
        return int([row for row in answer.data["locks"] if row["reason"] == "INC-1"][0]["id"])


@pytest.fixture
def venue():
    """A running venue; `venue.account` is the market and the account behind it."""
    server = Server(("127.0.0.1", 0), Market("KEY-1", "SECRET-1"))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def freqtrade(tmp_path, venue, request):
    """Starts Freqtrades on the venue: `freqtrade(initial_state="stopped")` has configuration on top."""
    if not FREQTRADE.exists():
        pytest.fail("there is no Freqtrade in .venv-freqtrade; type: ./dev test freqtrade")
    bots: list[Bot] = []

    def make(start: bool = True, **more: Any) -> Bot:
        bots.append(Bot(tmp_path / f"bot{len(bots)}", venue, **more))
        return bots[-1].start() if start else bots[-1]

    yield make
    venue.account.faults.clear()
    for bot in bots:
        if bot.process is not None and bot.process.poll() is None:
            bot.process.kill()
            bot.process.wait(GUARD)
