"""What is held at the venues, read for a comparison: sizes exact, every claimed symbol asked for by name. Bastion only, Python 3.11.

Runs in venue_runner's process (`rows`), like everything that talks to a venue. A position that the venue did not show because nobody
asked for it would be taken for one that is gone: so what our software claims is asked for symbol by symbol where the venue's list
does not show it, and a list that is cut off is no list.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

from . import venues
from .amounts import exact, words
from .state import utc_now
from .text import clean
from .venue_words import NO_POSITIONS
from .venues import CURSORS, PAGES, Clock, ConfigError, Desk, OutOfTime, Run, Venue

PAGE = 200  # positions in one answer: what ccxt asks bybit for, and its most. Elsewhere so many without a cursor count as cut off.


def amount_step(client: Any, market: Mapping[str, Any]) -> Decimal | None:
    """The smallest difference between two sizes, in contracts; None where ccxt does not know it."""
    precision = exact((market.get("precision") or {}).get("amount"))
    if precision is None or precision < 0:
        return None
    import ccxt

    if client.precisionMode == ccxt.TICK_SIZE:
        return precision if precision > 0 else None
    if client.precisionMode == ccxt.DECIMAL_PLACES:
        return Decimal(1).scaleb(-int(precision))
    return None  # significant digits: the step depends on the size


def market_facts(client: Any, market: Mapping[str, Any]) -> dict[str, Any]:
    """What a comparison needs of a market: its kind, and step and unit of a size.

    The unit is the base currency; of an inverse contract it is the quote currency, in which its contracts are counted.
    """
    each = exact(market.get("contractSize")) or Decimal(1)
    step = amount_step(client, market)
    inverse = bool(market.get("inverse"))
    return {
        "kind": "spot" if market.get("spot") else "inverse" if inverse else "linear",
        "contract_size": words(each),
        "step": words(step * each) if step is not None else None,
        "unit": clean(market.get("quote") if inverse else market.get("base"), 20),
        "quote": clean(market.get("quote") or "?", 20),
        "settle": clean(market.get("settle") or market.get("quote") or "?", 20),
    }


def held(client: Any, one: Mapping[str, Any]) -> dict[str, Any]:
    """One position in exact terms; numbers are texts.

    Returns:
        symbol, side, contracts, size (base units; of an inverse contract, quote units), unit, entry, mark, liquidation, pnl (settle
        currency), notional (quote currency; the greater of the venue's and ours), quote, settle, hedged (True, False or None).
    """
    market = client.market(one["symbol"])
    facts = market_facts(client, market)
    contracts = abs(exact(one.get("contracts")) or Decimal(0))
    size = contracts * Decimal(facts["contract_size"])
    mark, entry, said = exact(one.get("markPrice")), exact(one.get("entryPrice")), exact(one.get("notional"))
    price = mark or entry
    if facts["kind"] == "inverse":
        worth: Decimal | None = size
    else:
        # bybit's figure is at the entry price: what counts is the greater one.
        some = [abs(value) for value in (size * price if price else None, said) if value is not None]
        worth = max(some) if some else None
    pnl = exact(one.get("unrealizedPnl"))
    if pnl is None and mark and entry and facts["kind"] == "linear":
        pnl = (mark - entry) * size * (-1 if one.get("side") == "short" else 1)
    shown = {"entry": entry, "mark": mark, "liquidation": exact(one.get("liquidationPrice")), "pnl": pnl, "notional": worth}
    return {
        "symbol": str(market["symbol"]),
        "side": one.get("side") if one.get("side") in ("long", "short") else "",
        "contracts": words(contracts),
        "size": words(size),
        "unit": facts["unit"],
        **{key: words(value) if value is not None else None for key, value in shown.items()},
        "quote": facts["quote"],
        "settle": facts["settle"],
        "hedged": one.get("hedged") if isinstance(one.get("hedged"), bool) else None,
    }


class CutOff(Exception):
    """A list of positions ended before the last one."""


def pages(desk: Desk, symbols: list[str] | None, params: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All rows of one listing, rows of size 0 too. Raises CutOff."""
    received, sent = CURSORS.get(desk.venue.exchange, ("", ""))
    rows: list[dict[str, Any]] = []
    for _ in range(PAGES):
        page = desk.read("fetch_positions", symbols, dict(params))
        rows += page
        if len(page) < PAGE:
            return rows
        cursor = next((one["info"][received] for one in page if received and (one.get("info") or {}).get(received)), None)
        if cursor is None:
            break
        params = {**params, sent: cursor}
    raise CutOff("the venue cut its list of positions off: what is behind it was not seen")


def blank(name: str, venue: Venue | None = None) -> dict[str, Any]:
    """A venue's book before anything is known."""
    return {
        "name": name,
        "exchange": venue.exchange if venue else None,
        "account": venue.account if venue else "",
        "looked_at": venues.blank(name, venue)["looked_at"],
        "ok": False,
        "why": "nothing came back",
        "positions": [],
        "markets": {},
        "modes": {},
        "missing": [],
        "at": None,
        "seconds": None,
    }


def read_book(desk: Desk, book: dict[str, Any], claimed: Iterable[str]) -> None:
    """Fills `book` with what a venue shows: its list, and each claimed symbol that the list does not show.

    Raises:
        CutOff, ConfigError, OutOfTime, ccxt's exceptions.
    """
    desk.open()
    client = desk.client
    if client.has.get("fetchPositions") not in (True, "emulated"):
        raise ConfigError(NO_POSITIONS)
    rows = _listed(desk)
    if ({one.get("symbol") for one in rows} | set(claimed)) - set(client.markets):
        # The market list of an earlier run is used for days: what was listed since is not in it.
        desk.read("load_markets", True)
        rows = _listed(desk)
    seen = {one.get("symbol") for one in rows}
    for symbol in sorted(set(claimed)):
        if symbol not in client.markets:
            book["missing"].append(symbol)
            continue
        book["markets"][symbol] = market_facts(client, client.markets[symbol])
        if symbol not in seen and not client.markets[symbol].get("spot"):
            rows += pages(desk, [symbol], {})
    _sort(client, book, rows)
    book.update(ok=True, why="")


def _listed(desk: Desk) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for symbol in desk.venue.symbols or (None,):
        if symbol and desk.client.market(symbol)["spot"]:
            continue
        for section in desk.venue.sections:
            if symbol or section.get("type") != "spot":
                rows += pages(desk, [symbol] if symbol else None, section)
    return rows


def _sort(client: Any, book: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    kept: dict[tuple[str, str], dict[str, Any]] = {}
    for one in rows:
        position = held(client, one)
        symbol = position["symbol"]
        book["markets"].setdefault(symbol, market_facts(client, client.market(symbol)))
        if position["hedged"] is not None:  # an empty row tells the mode as well
            book["modes"][symbol] = "hedge" if position["hedged"] else "oneway"
        if position["contracts"] != "0":
            kept[(symbol, position["side"])] = position
    book["positions"] = [kept[key] for key in sorted(kept)]


def guarded(desk: Desk, row: dict[str, Any], work: Callable[[], None]) -> None:
    """Does one venue's work; whatever goes wrong becomes `why`, since one venue must not take the others' answer away."""
    began = time.monotonic()
    try:
        work()
    except OutOfTime:
        row.update(ok=False, why="no answer in time")
    except (ConfigError, CutOff) as error:
        row.update(ok=False, why=clean(error, 200))
    except Exception as error:  # whatever a venue or ccxt does
        row.update(ok=False, why=desk.words(error))
    row["seconds"] = round(time.monotonic() - began, 2)
    row["at"] = utc_now()


def look(run: Run, claimed: Mapping[str, Iterable[str]], budget: float) -> list[dict[str, Any]]:
    """Reads all venues at once.

    Args:
        run: the venues. claimed: {venue: symbols that our software says it holds there}. budget: seconds for all of them.

    Returns:
        one book per venue (see `blank`), in the inventory's order; `ok` only where everything that was asked came back.
    """
    clock = Clock(budget)
    books, threads = [], []
    for name, one in run.entries:
        book = blank(name, one if isinstance(one, Venue) else None)
        books.append(book)
        if isinstance(one, ConfigError):
            book["why"] = clean(one, 200)
            continue
        desk = run.desks[name]
        desk.clock = clock

        def work(desk: Desk = desk, book: dict[str, Any] = book, name: str = name) -> None:
            guarded(desk, book, lambda: read_book(desk, book, claimed.get(name, ())))

        thread = threading.Thread(target=work, name=name, daemon=True)
        threads.append((thread, len(books) - 1))
        thread.start()
    for thread, number in threads:
        thread.join(max(clock.left(), 0) + 0.2)
        if thread.is_alive():  # it may still fill its book: nobody looks at that one again
            late = blank(books[number]["name"], next(one for name, one in run.entries if name == books[number]["name"]))  # type: ignore[arg-type]
            books[number] = {**late, "why": "no answer within %g s" % budget, "at": utc_now()}
    return books


def rows(job: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The task `positions` of venue_runner's process. job: config, only, budget, claimed ({venue: symbols}).

    Raises:
        ConfigError: andon_venues or the venue's name is wrong; nothing was sent.
    """
    return look(Run(job["config"], only=job.get("only") or ""), job.get("claimed") or {}, float(job["budget"]))
