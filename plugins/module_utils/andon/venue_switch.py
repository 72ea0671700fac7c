"""The dead man's switch of a venue: what ccxt offers there, arm, refresh, disarm, and what of it can be proven. Bastion only.

There are two kinds. A *countdown* cancels the account's orders when nobody refreshes it in time. A *stream* switch (bybit) only sets how
long the account's private streams may be gone; no request arms it, and none shows whether a stream that counts is open. ccxt calls both
cancelAllOrdersAfter. What a venue answers is not believed: where it can be read back it is, and where it cannot the verdict is UNKNOWN.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from .state import actor, state_dir, utc_now
from .text import clean, duration, nearest, valid_id
from .venue_words import REFUSED, UNKNOWN
from .venues import CREDENTIALS, Clock, ConfigError, Desk, OutOfTime, Run, Venue

COUNTDOWN, STREAM = "countdown", "stream"
SET, DISARMED, WOULD = "SET", "DISARMED", "WOULD SET"
ACTS = ("arm", "refresh", "disarm")
LEAST, MOST = 5.0, 86400.0  # seconds, where a venue's own bounds are not known
# Seconds that a venue takes (its own documentation, or ccxt's check before it sends).
BOUNDS = {
    "bybit": (3, 300),
    "bybiteu": (3, 300),
    "bybitid": (3, 300),
    "okx": (10, 120),
    "myokx": (10, 120),
    "okxus": (10, 120),
    "bitvavo": (10, 300),
    "lighter": (300, 1296000),
    "woo": (5, 900),
    "kucoin": (5, 86400),
}
STREAMS = ("bybit", "bybiteu", "bybitid")
# Unified there, and its 0 does not end the timer: read in ccxt 4.5.90.
NO_DISARM = {
    "bybit": "its interface has no call that switches it off; the exchange's client manager does",
    "bybiteu": "its interface has no call that switches it off; the exchange's client manager does",
    "bybitid": "its interface has no call that switches it off; the exchange's client manager does",
    "hyperliquid": "ccxt sends the present moment instead of none: it may cancel at once. Let it run out, or refresh it",
    "btse": "whether 0 ends it there is not known. Let it run out, or refresh it",
}
# A switch that belongs to a stream's own connection: no request from here can set it.
CONNECTION_ONLY = ("deribit", "cryptocom", "coinbaseinternational", "grvt")


def _products(venue: Venue) -> list[dict[str, Any]]:
    """What is switched by itself: one entry per kind of market that the venue's entry names."""
    kinds = list(dict.fromkeys(str(s["type"]) for s in venue.sections if s.get("type")))
    return [{"type": kind} for kind in kinds] or [{}]


# Exchanges without a unified method: {id: (method of ccxt, what the calls need)}. 0 disarms, except where it is said.


def _binance(client: Any, venue: Venue, ms: int) -> list[tuple[str, dict[str, Any], str]]:
    calls = []
    for symbol in venue.symbols:
        market = client.market(symbol)
        if market["spot"] or market.get("option"):
            continue
        method = "fapiPrivatePostCountdownCancelAll" if market["linear"] else "dapiPrivatePostCountdownCancelAll"
        calls.append((method, {"symbol": market["id"], "countdownTime": ms}, symbol))
    if not calls:
        raise ConfigError("its switch is per futures symbol: name the symbols in andon_venues. Nothing was sent")
    return calls


def _gate(client: Any, venue: Venue, ms: int) -> list[tuple[str, dict[str, Any], str]]:
    calls = []
    for one in _products(venue):
        if one.get("type") == "swap":
            calls.append(("privateFuturesPostSettleCountdownCancelAll", {"settle": "usdt", "timeout": ms // 1000}, "swap (usdt)"))
        elif one.get("type") in (None, "spot"):
            calls.append(("privateSpotPostCountdownCancelAll", {"timeout": ms // 1000}, "spot"))
        else:
            raise ConfigError("its switch for %s is not known. Nothing was sent" % clean(one["type"], 20))
    return calls


def _kucoin(client: Any, venue: Venue, ms: int) -> list[tuple[str, dict[str, Any], str]]:
    return [("privatePostHfOrdersDeadCancelAll", {"timeout": ms // 1000 if ms else -1}, "spot (high-frequency)")]


RAW: dict[str, tuple[str, Callable[[Any, Venue, int], list[tuple[str, dict[str, Any], str]]]]] = {
    "binance": ("fapiPrivatePostCountdownCancelAll", _binance),
    "binanceusdm": ("fapiPrivatePostCountdownCancelAll", _binance),
    "binancecoinm": ("dapiPrivatePostCountdownCancelAll", _binance),
    "gate": ("privateFuturesPostSettleCountdownCancelAll", _gate),
    "gateeu": ("privateFuturesPostSettleCountdownCancelAll", _gate),
    "kucoin": ("privatePostHfOrdersDeadCancelAll", _kucoin),
}


def switch_of(client: Any) -> dict[str, str]:
    """What dead man's switch an exchange has: {switch: unified | raw | none, kind: countdown | stream | "", method, words}."""
    name = str(client.id)
    if client.has.get("cancelAllOrdersAfter") is True:
        kind = STREAM if name in STREAMS else COUNTDOWN
        words = "acts when the account's private streams (topic dcp) are gone that long" if kind == STREAM else "cancels unless it is refreshed in time"
        return {"switch": "unified", "kind": kind, "method": "cancelAllOrdersAfter", "words": words}
    if name in RAW and hasattr(client, RAW[name][0]):
        return {"switch": "raw", "kind": COUNTDOWN, "method": RAW[name][0], "words": "cancels unless it is refreshed in time"}
    if name in CONNECTION_ONLY:
        return {"switch": "none", "kind": "", "method": "", "words": "only for a stream's own connection: the trading program must set it"}
    return {"switch": "none", "kind": "", "method": "", "words": "ccxt has none for it"}


# Capabilities


METHODS = (
    *("cancelOrder", "cancelOrders", "cancelAllOrders", "fetchOpenOrders", "fetchPositions", "fetchMyTrades", "fetchBalance"),
    *("fetchStatus", "fetchTime", "createReduceOnlyOrder", "closePosition", "setPositionMode", "fetchPositionMode", "sandbox"),
)


def capabilities(exchange: str) -> dict[str, Any]:
    """What ccxt says of an exchange; nothing is sent.

    Returns:
        {exchange, ccxt (version), has: {method: yes | no | emulated | unknown}, bulk, trigger: {spot, swap}, switch: {...}, credentials}.

    Raises:
        ConfigError: ccxt is not there, or has no such exchange.
    """
    try:
        import ccxt
    except ImportError as error:
        raise ConfigError("ccxt is not installed on the bastion: pip install --require-hashes -r requirements-venues.lock") from error
    if exchange not in ccxt.exchanges:
        near = nearest(exchange, ccxt.exchanges)
        raise ConfigError("ccxt %s has no exchange '%s'%s" % (ccxt.__version__, clean(exchange, 40), "; did you mean %s?" % near[0] if near else ""))
    client = getattr(ccxt, exchange)()
    said = {True: "yes", False: "no", "emulated": "emulated"}
    has = {method: said.get(client.has.get(method), "unknown") for method in METHODS}
    kinds = (("spot", None), ("swap", "linear"))
    trigger = {kind: said.get(client.feature_value_by_type(kind, sub, "fetchOpenOrders", "trigger"), "unknown") for kind, sub in kinds}
    return {
        "exchange": exchange,
        "ccxt": ccxt.__version__,
        "has": has,
        "bulk": "all" if has["cancelAllOrders"] == "yes" else "list" if has["cancelOrders"] == "yes" else "none",
        "trigger": trigger,
        "switch": switch_of(client),
        "credentials": [ours for ours, theirs in CREDENTIALS.items() if client.requiredCredentials.get(theirs)],
    }


# Acting


def bounds(exchange: str) -> tuple[float, float]:
    return BOUNDS.get(exchange, (LEAST, MOST))


def check_timeout(exchange: str, act: str, timeout: float) -> int:
    """The timeout in milliseconds, 0 for disarm.

    Raises:
        ConfigError: it is no time that this venue takes.
    """
    if act == "disarm":
        return 0
    least, most = bounds(exchange)
    # bybit's and others' is in whole seconds: what is cut off would be another time than the one that was asked for.
    if not least <= timeout <= most or timeout != int(timeout):
        raise ConfigError("%s takes a timeout of %g to %g whole seconds, not %g. Nothing was sent" % (exchange, least, most, timeout))
    return int(timeout) * 1000


class Switch:
    """One venue's switch during one run; fills its row and never raises."""

    def __init__(self, desk: Desk, row: dict[str, Any], act: str, timeout: float, check: bool) -> None:
        self.desk, self.row, self.act, self.timeout, self.check = desk, row, act, timeout, check

    def run(self) -> None:
        try:
            self._run()
        except OutOfTime:
            self._end(UNKNOWN, "no answer in time")
        except ConfigError as error:
            self._end(REFUSED, clean(error, 200))
        except Exception as error:  # whatever a venue or ccxt does
            self._end(UNKNOWN, self.desk.words(error))
        self.row["attempts"] = list(self.desk.attempts)

    def _end(self, verdict: str, why: str) -> None:
        self.row["verdict"], self.row["why"] = verdict, why

    def _run(self) -> None:
        from .venues import connect

        venue = self.desk.venue
        self.desk.client = client = connect(venue)
        has = self.row["has"] = switch_of(client)
        if has["switch"] == "none":
            raise ConfigError("there is no dead man's switch: %s. Nothing was sent" % has["words"])
        if self.act == "disarm" and venue.exchange in NO_DISARM:
            raise ConfigError("it cannot be disarmed from here: %s. Nothing was sent" % NO_DISARM[venue.exchange])
        ms = check_timeout(venue.exchange, self.act, self.timeout)
        self.desk.open()
        calls = self._calls(ms)
        self.row["products"] = [what for _, _, what in calls]
        if self.check:
            self._end(WOULD, "")
            return
        outcomes = []
        for method, args, what in calls:
            outcomes.append((what, self.desk._try("switch of %s" % what, [], method, *args)))
        self.row["sent_at"] = utc_now()
        self._judge(outcomes, ms)

    def _calls(self, ms: int) -> list[tuple[str, tuple[Any, ...], str]]:
        """(method, arguments, words) of each call."""
        venue, client = self.desk.venue, self.desk.client
        if self.row["has"]["switch"] == "raw":
            return [(method, (params,), what) for method, params, what in RAW[venue.exchange][1](client, venue, ms)]
        if venue.exchange == "whitebit":
            if not venue.symbols:
                raise ConfigError("its switch is per symbol: name the symbols in andon_venues. Nothing was sent")
            return [("cancel_all_orders_after", (ms, {"symbol": symbol}), symbol) for symbol in venue.symbols]
        # One call per kind of market where the exchange tells them apart; elsewhere it is the account's.
        if venue.exchange in (*STREAMS, "bingx", "btse"):
            kinds = _products(venue) if not venue.symbols else [{"type": kind} for kind in dict.fromkeys(client.market(s)["type"] for s in venue.symbols)]
            kinds = [{"type": "swap"} if venue.exchange in STREAMS and one.get("type") == "future" else one for one in kinds]
            return [("cancel_all_orders_after", (ms, one), one.get("type") or "ccxt's default section") for one in kinds]
        return [("cancel_all_orders_after", (ms,), "the account")]

    def _judge(self, outcomes: list[tuple[str, str]], ms: int) -> None:
        bad = ["%s: %s" % (what, said) for what, said in outcomes if said != "answered"]
        unknown = any(said == "unknown" for _, said in outcomes)
        read = self._read_back(ms) if unknown or not bad else None
        if read is True and not (bad and not self._unknown_only(outcomes)):
            self._end(DISARMED if not ms else SET, self._words(ms))
            return
        if bad:
            words = next((one["words"] for one in reversed(self.desk.attempts) if one["words"]), "")
            self._end(UNKNOWN if unknown else REFUSED, "the venue did not take it (%s) %s" % ("; ".join(bad), words))
        elif read is False:
            self._end(UNKNOWN, "the venue said yes, and its own configuration shows another: %s" % self.row["read_back"])
        else:
            self._end(UNKNOWN, "the venue said yes; it has no way to read it back, so this is not proof. %s" % self._words(ms))

    @staticmethod
    def _unknown_only(outcomes: list[tuple[str, str]]) -> bool:
        return all(said in ("answered", "unknown") for _, said in outcomes)

    def _words(self, ms: int) -> str:
        if not ms:
            return "the timer is off" if self.row["has"]["kind"] == COUNTDOWN else ""
        span = duration(ms / 1000)
        if self.row["has"]["kind"] == STREAM:
            return "window of %s; it acts only if an open private stream has the topic dcp, which no request shows" % span
        return "orders go in %s unless it is refreshed" % span

    def _read_back(self, ms: int) -> bool | None:
        """True if the venue's own configuration shows it, False if it shows another, None where it cannot be read."""
        exchange = self.desk.venue.exchange
        if exchange in STREAMS:
            return self._wait_for(lambda: self._bybit_window(ms))
        if exchange == "kucoin":
            return self._wait_for(lambda: self._kucoin_timer(ms))
        return None

    def _wait_for(self, look: Callable[[], bool]) -> bool | None:
        """Reads again until it shows, or the budget is used up: bybit says that a change takes some seconds."""
        pause, seen = 0.05, None
        while True:
            try:
                seen = look()
            except OutOfTime:
                return seen
            except Exception as error:
                self.row["read_back"] = self.desk.words(error)
            if seen or self.desk.clock.left() < pause + 0.2:
                return seen
            time.sleep(pause)
            pause = min(2 * pause, 2.0)

    def _bybit_window(self, ms: int) -> bool:
        answer = self.desk.ask("privateGetV5AccountQueryDcpInfo")
        found = {str(one.get("product")): one for one in (answer.get("result") or {}).get("dcpInfos") or []}
        products = {"spot": "SPOT", "swap": "DERIVATIVES", "option": "OPTIONS"}
        wanted = [products.get(what, "DERIVATIVES") for what in self.row["products"]]
        shown = ["%s %s %s s" % (p, found[p].get("dcpStatus"), found[p].get("timeWindow")) if p in found else "%s not enabled" % p for p in wanted]
        self.row["read_back"] = clean(", ".join(shown), 200)
        return all(p in found and found[p].get("dcpStatus") == "ON" and str(found[p].get("timeWindow")) == str(ms // 1000) for p in wanted)

    def _kucoin_timer(self, ms: int) -> bool:
        data = self.desk.ask("privateGetHfOrdersDeadCancelAllQuery").get("data") or {}
        self.row["read_back"] = clean("timeout %s, acts at %s" % (data.get("timeout"), data.get("triggerTime")) if data else "no timer", 200)
        return not data or str(data.get("timeout")) == "-1" if not ms else str(data.get("timeout")) == str(ms // 1000)


def blank(name: str, act: str, timeout: float) -> dict[str, Any]:
    return {
        **{"name": name, "act": act, "timeout": timeout if act != "disarm" else None, "verdict": UNKNOWN, "why": "nothing came back"},
        **{"has": None, "products": [], "read_back": "", "attempts": [], "sent_at": None},
    }


def rows(job: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What venue_runner's process does: the capabilities of exchanges, or one venue's switch.

    Args:
        job: task ("capabilities": exchanges; "switch": config, only, act, timeout (seconds), check, budget (seconds)).

    Raises:
        ConfigError: nothing was sent.
    """
    if job["task"] == "capabilities":
        return [capabilities(str(name)) for name in job["exchanges"]]
    run = Run(job["config"], environ=os.environ, only=str(job["only"]))
    ((name, one),) = run.entries
    row = blank(name, str(job["act"]), float(job["timeout"]))
    if isinstance(one, ConfigError):
        row["verdict"], row["why"] = REFUSED, clean(one, 200)
        return [row]
    before = last(name)
    if row["act"] == "refresh" and (before is None or before["act"] == "disarm"):
        # A refresh that comes after somebody's disarm (from a loop) must not arm it again.
        row["verdict"], row["why"] = REFUSED, "it is not armed from this bastion: andon venue switch arm. Nothing was sent"
        return [row]
    desk = run.desks[name]
    desk.clock = Clock(float(job["budget"]))
    thread = threading.Thread(target=Switch(desk, row, row["act"], float(job["timeout"]), bool(job["check"])).run, daemon=True)
    thread.start()
    thread.join(float(job["budget"]) + 1)
    if thread.is_alive():
        row = {**row, "verdict": UNKNOWN, "why": "no answer within %g s" % float(job["budget"])}
    return [row]


# What was done last


def _file(name: str) -> Any:
    if not valid_id(name):
        raise ValueError("a venue's name is a file's name here")
    return state_dir() / "venues" / ("%s-switch.jsonl" % name)


def remember(row: Mapping[str, Any]) -> str:
    """Adds a run to the venue's history on this bastion; returns why that was not possible, or ""."""
    keys = ("name", "act", "timeout", "verdict", "why", "read_back", "sent_at")
    line = json.dumps({**{key: row[key] for key in keys}, "kind": (row["has"] or {}).get("kind", ""), "by": actor()["name"]}, sort_keys=True)
    try:
        path = _file(str(row["name"]))
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a", encoding="utf-8") as out:
            out.write(line + "\n")
            out.flush()
            os.fsync(out.fileno())
    except OSError as error:
        return "the state folder cannot be written (%s): andon venues will not know of this" % error.strerror
    return ""


def last(name: str) -> dict[str, Any] | None:
    """The last run that reached the venue (arm, refresh or disarm), as `remember` wrote it; None if there was none."""
    found = None
    with contextlib.suppress(OSError, ValueError):
        for line in _file(name).read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):  # a torn last line
                one = json.loads(line)
                if isinstance(one, dict) and one.get("sent_at"):
                    found = one
    return found


def last_words(name: str, now: float) -> str:
    """The switch in one line, "" if this bastion never touched it."""
    from .state import parse_utc

    one = last(name)
    if one is None:
        return ""
    at = parse_utc(one["sent_at"])
    ago = "%s ago" % duration(now - at) if at else "?"
    words = "switch: %s %s UTC (%s) by %s: %s" % (clean(one["act"], 10), clean(one["sent_at"], 30), ago, clean(one.get("by"), 30), clean(one["verdict"], 20))
    if one["act"] == "disarm" or not at:
        return words
    words += ", %s" % duration(one["timeout"])
    if one.get("kind") == STREAM:
        return words + " without a private stream"
    over = now - at - float(one["timeout"])
    return words + (", it ran out %s ago unless others refresh it" % duration(over) if over > 0 else ", %s left" % duration(-over))
