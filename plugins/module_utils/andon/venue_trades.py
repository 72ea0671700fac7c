"""Recent trades of the venues, in one form, and what they say of profit and loss. Bastion only, Python 3.11.

A list of trades is only as good as its end: a page that is full may be followed by another one. Where Andon knows how a venue
turns its page it goes on; elsewhere a full page is said to be cut off.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping
from typing import Any

from .state import utc, utc_now
from .text import clean
from .venue_words import OK, REFUSED, UNKNOWN
from .venues import CURSORS, Clock, ConfigError, Desk, OutOfTime, Run, Venue, _snapshot

PAGES = 20
KEEP = 2000  # trades of one venue, the newest

# ccxt has no field for a trade's realized profit or loss; the venue's own field is in `info`. Without the trade's fee, as far as
# their documentation goes. Read in ccxt 4.5.90's samples of each venue's answer; a venue that is not named here gives none.
PNL = {
    "bybit": "execPnl",
    "binanceusdm": "realizedPnl",
    "binancecoinm": "realizedPnl",
    "binance": "realizedPnl",
    "okx": "fillPnl",
    "deribit": "profit_loss",
    "hyperliquid": "closedPnl",
}
CLIENT_IDS = ("orderLinkId", "clientOrderId", "clOrdId", "cloid", "label", "text")


def blank(name: str, venue: Venue | None = None) -> dict[str, Any]:
    """A venue's row before anything is known: UNKNOWN."""
    return {
        "name": name,
        "exchange": venue.exchange if venue else None,
        "account": venue.account if venue else "",
        "prefix": venue.prefix if venue else "",
        "verdict": UNKNOWN,
        "why": "nothing came back",
        "trades": [],
        "foreign": 0,
        "cut_off": [],
        "seconds": None,
        "at": None,
    }


def number(value: Any) -> float | None:
    """A finite number, or None: venues write numbers as text, and nothing as an empty one."""
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def shown(client: Any, exchange: str, trade: Mapping[str, Any]) -> dict[str, Any]:
    """One trade in Andon's terms.

    Returns:
        id, order, client_id, symbol, side, amount, price, cost, fee ({cost, currency} or None), pnl (realized, in C(currency),
        or None where the venue gives none), currency, at (Unix seconds or None).
    """
    info = trade.get("info") if isinstance(trade.get("info"), Mapping) else {}
    fee = trade.get("fee") if isinstance(trade.get("fee"), Mapping) else {}
    market = (client.markets or {}).get(trade.get("symbol")) or {}
    at = number(trade.get("timestamp"))
    return {
        "id": clean(trade.get("id") or "", 80),
        "order": clean(trade.get("order") or "", 80),
        "client_id": clean(next((info[key] for key in CLIENT_IDS if info.get(key)), ""), 80),
        "symbol": clean(trade.get("symbol") or "", 60),
        "side": clean(trade.get("side") or "", 10),
        **{key: number(trade.get(key)) for key in ("amount", "price", "cost")},
        "fee": {"cost": number(fee.get("cost")), "currency": clean(fee.get("currency") or "", 12)} if number(fee.get("cost")) is not None else None,
        "pnl": number(info.get(PNL.get(exchange, ""))),
        "currency": clean(market.get("settle") or market.get("quote") or "", 12),
        "at": at / 1000 if at is not None else None,
    }


def _limit(desk: Desk, symbol: str | None, section: Mapping[str, Any]) -> int | None:
    if symbol:
        return desk.client.feature_value(symbol, "fetchMyTrades", "limit")
    kind = section.get("type") or desk.client.options.get("defaultType") or "spot"
    return desk.client.feature_value_by_type(kind, None if kind == "spot" else section.get("subType") or "linear", "fetchMyTrades", "limit")


def listed(desk: Desk, symbol: str | None, section: Mapping[str, Any], since: float) -> tuple[list[Mapping[str, Any]], str]:
    """The trades of one symbol or section since a Unix time, and why they are not all of them ("" when they are)."""
    limit, params = _limit(desk, symbol, section), dict(section)
    received, sent = CURSORS.get(desk.venue.exchange, ("", ""))
    found: list[Mapping[str, Any]] = []
    seen: set[str] = set()
    for _ in range(PAGES):
        page = desk.read("fetch_my_trades", symbol, int(1000 * since), limit, dict(params))
        found += page
        # bybit gives a cursor with its last page, too: an empty page is the end.
        cursor = next((t["info"][received] for t in page if received and t["info"].get(received)), None)
        if cursor is None:
            if limit is None and page:
                return found, "how many trades fit into one list is not known"
            return found, "" if not limit or len(page) < limit else "the list was full (%d trades)" % len(page)
        if cursor in seen:
            return found, "the venue gave the same page twice"
        seen.add(cursor)
        params[sent] = cursor
    return found, "more than %d pages" % PAGES


def fill(desk: Desk, row: dict[str, Any], since: float) -> None:
    """Reads one venue's trades into its row; never raises."""
    began = time.monotonic()
    try:
        desk.open()
        if desk.client.has.get("fetchMyTrades") is not True:
            raise ConfigError("ccxt cannot ask this exchange for trades")
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for symbol in desk.venue.symbols or (None,):
            for section in desk.venue.sections:
                trades, why = listed(desk, symbol, section, since)
                if why:
                    row["cut_off"].append(clean("%s: %s" % (symbol or ", ".join(map(str, section.values())) or "all", why), 120))
                for number_, trade in enumerate(trades):
                    one = shown(desk.client, desk.venue.exchange, trade)
                    if one["at"] is None or one["at"] >= since:
                        found[(one["symbol"], one["id"] or "%s-%d" % (symbol, number_))] = one
        rows = sorted(found.values(), key=lambda one: one["at"] or 0.0)
        ours = [one for one in rows if not desk.venue.prefix or one["client_id"].startswith(desk.venue.prefix)]
        row["foreign"] = len(rows) - len(ours)
        row["trades"] = ours[-KEEP:]
        if len(ours) > KEEP:
            row["cut_off"].append("only the newest %d of %d were kept" % (KEEP, len(ours)))
        row["verdict"], row["why"] = (UNKNOWN, "cut off: " + "; ".join(row["cut_off"])) if row["cut_off"] else (OK, "")
    except OutOfTime:
        row["why"] = "no answer in time"
    except ConfigError as error:
        row["verdict"], row["why"] = REFUSED, clean(error, 200)
    except Exception as error:  # whatever a venue or ccxt does: one venue must not take the others' trades away
        row["why"] = desk.words(error)
    row["seconds"], row["at"] = round(time.monotonic() - began, 2), utc_now()


def read(run: Run, since: float, budget: float) -> list[dict[str, Any]]:
    """The trades of all venues, each in a thread of its own.

    Args:
        run: the venues. since: Unix time. budget: seconds for all of them together.

    Returns:
        one row per venue (see C(blank)), in the inventory's order; a venue that did not answer in time is UNKNOWN.
    """
    clock = Clock(budget)
    rows = {name: blank(name, one if isinstance(one, Venue) else None) for name, one in run.entries}
    for name, one in run.entries:
        if isinstance(one, ConfigError):
            rows[name].update(verdict=REFUSED, why=clean(one, 200))
    threads = {}
    for name, desk in run.desks.items():
        desk.clock = clock
        threads[name] = threading.Thread(target=fill, args=(desk, rows[name], since), name=name, daemon=True)
        threads[name].start()
    for name, thread in threads.items():
        thread.join(max(clock.left(), 0))
        if thread.is_alive():
            rows[name] = {
                **blank(name, run.desks[name].venue),
                **_snapshot(rows[name]),
                "verdict": UNKNOWN,
                "why": "no answer within %g s (asked for trades since %s)" % (budget, utc(since)[:19]),
            }
    return list(rows.values())


def rows(job: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The task "trades" of venue_runner.

    Args:
        job: config (andon_venues), since (Unix time), budget (seconds), only (one venue's name, optional).

    Raises:
        ConfigError: andon_venues or `only` is wrong; nothing was sent.
    """
    return read(Run(job["config"], only=job.get("only") or ""), float(job["since"]), float(job["budget"]))
