"""Closing of orphaned positions: only what was confirmed, only as it was seen, never twice, and proven by the position itself.

Runs in venue_runner's process. An order is sent once per reconciliation and position: its client order id comes from both, and a file on
the bastion says that it was sent before it is sent, so that a second run, or one that was interrupted, asks what became of it instead.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from .amounts import exact, words
from .positions import guarded, held, pages
from .state import utc_now
from .text import clean
from .venues import Clock, ConfigError, Desk, Run, Venue

CLOSED = "CLOSED"  # the order was sent, and the position is gone
FLAT = "FLAT"  # the position was gone already
WOULD_CLOSE = "WOULD CLOSE"
REFUSED = "REFUSED"  # nothing was sent
NOT_CLOSED = "NOT CLOSED"
UNKNOWN = "UNKNOWN"
GOOD = (CLOSED, FLAT)

SETTLE = 5.0  # seconds after an order for which the position is watched; a market order is over in much less
AGAIN = 0.1  # seconds between two looks
ENOUGH = 2.0  # seconds that must be left of the budget for an order to be sent: it has to be followed
# The cap is in dollars; what is priced in another currency is not compared with it.
DOLLARS = ("USD", "USDT", "USDC", "USDE", "FDUSD", "BUSD", "TUSD", "DAI", "USD1")
# The parameter by which a venue gives the one order of a client order id. Elsewhere it is looked for in the lists.
BY_CLIENT_ID = {"bybit": "orderLinkId"}
FINAL = ("closed", "canceled", "rejected", "expired")


class Purse:
    """The cap over all orders of a run, in dollars. Thread-safe."""

    def __init__(self, cap: Decimal) -> None:
        self.cap = cap
        self.spent = Decimal(0)
        self._lock = threading.Lock()

    def take(self, worth: Decimal) -> str:
        """Takes a position's worth; says why not, or nothing."""
        with self._lock:
            if self.spent + worth > self.cap:
                more = ", %s of it for the others" % words(self.spent) if self.spent else ""
                return "it is worth %s and andon_close_cap is %s%s" % (words(worth), words(self.cap), more)
            self.spent += worth
            return ""


class Sent:
    """What was sent for one reconciliation: a file per client order id, written before the order.

    Args:
        folder: where; it is made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def first(self, client_id: str, words_of: Mapping[str, Any]) -> str:
        """Marks an order as sent. Returns an empty text, or when it had been sent before.

        Raises:
            OSError: it cannot be written; then nothing may be sent.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / ("%s.json" % client_id)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
        except FileExistsError:
            return self._when(path)
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            json.dump({"at": utc_now(), **words_of}, out)
            out.flush()
            os.fsync(out.fileno())
        inside = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(inside)
        finally:
            os.close(inside)
        return ""

    @staticmethod
    def _when(path: Path) -> str:
        try:
            return clean(json.loads(path.read_text(encoding="utf-8"))["at"], 40)
        except (OSError, ValueError, KeyError, TypeError):  # it was interrupted while it wrote: it may have been sent
            return "an unknown time"


def blank(order: Mapping[str, Any]) -> dict[str, Any]:
    """A row before anything is known."""
    return {
        **{key: order[key] for key in ("venue", "symbol", "side", "size", "confirm", "client_id")},
        "verdict": UNKNOWN,
        "why": "nothing came back",
        "sent": False,
        "outcome": "",
        "order": None,
        "before": None,
        "after": None,
        "now": "",
        "worth": None,
        "ok": False,
        "at": None,
        "seconds": None,
    }


def rows(job: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The task `close` of venue_runner's process. job: config, and what `close_all` takes. Raises ConfigError: andon_venues is wrong."""
    return close_all(Run(job["config"]), job)


def close_all(run: Run, job: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Closes the confirmed positions, one after the other at each venue, the venues side by side.

    Args:
        run: the venues.
        job: orders ([{venue, symbol, side, contracts, size, confirm, client_id}]), cap (text, dollars), check, sent (folder), budget (s).

    Returns:
        a row per order, in the given order (see `blank`); `ok` where the position is proven to be gone (with check: could be closed).
    """
    clock, purse, sent = Clock(float(job["budget"])), Purse(Decimal(str(job["cap"]))), Sent(Path(job["sent"]))
    found = [blank(order) for order in job["orders"]]
    entries = dict(run.entries)

    def work(desk: Desk, some: list[int]) -> None:
        for number in some:
            row, order = found[number], job["orders"][number]
            guarded(desk, row, lambda row=row, order=order: close_one(desk, row, order, purse, sent, check=bool(job["check"])))

    threads = []
    for venue in dict.fromkeys(order["venue"] for order in job["orders"]):
        some = [number for number, order in enumerate(job["orders"]) if order["venue"] == venue]
        one = entries.get(venue)
        if not isinstance(one, Venue):
            why = clean(one, 200) if isinstance(one, ConfigError) else "there is no venue of this name in andon_venues"
            for number in some:
                found[number].update(verdict=REFUSED, why=why)
            continue
        run.desks[venue].clock = clock
        threads.append(threading.Thread(target=work, args=(run.desks[venue], some), name=venue, daemon=True))
        threads[-1].start()
    for thread in threads:
        thread.join(max(clock.left(), 0) + 0.5)
    return [_ended(dict(row)) for row in found]


def _ended(row: dict[str, Any]) -> dict[str, Any]:
    if row["verdict"] == UNKNOWN:
        tail = "an order was sent: %s" % row["client_id"] if row["sent"] else "nothing was sent"
        row["why"] = row["why"] if tail in row["why"] else "%s; %s" % (row["why"], tail)
    row["ok"] = row["verdict"] in (*GOOD, WOULD_CLOSE)
    return row


def close_one(desk: Desk, row: dict[str, Any], order: Mapping[str, Any], purse: Purse, sent: Sent, *, check: bool) -> None:
    """Re-reads, compares, sends once, and re-reads until the position is gone. Fills `row`; raises what reading raises."""
    desk.open()
    position = now_held(desk, order)
    row["before"] = position["size"] if position else "0"
    why = _refusal(desk, order, position)
    if position is None:
        row.update(verdict=FLAT, why="nothing is held any more; nothing was sent")
        return
    if not why:
        row["worth"] = position["notional"]
        why = purse.take(Decimal(position["notional"]))
    if not why and desk.clock.left() < ENOUGH:
        why = "no time is left to follow an order"
    if why:
        row.update(verdict=REFUSED, why=why + "; nothing was sent")
        return
    if check:
        row.update(verdict=WOULD_CLOSE, why="worth %s %s" % (position["notional"], position["quote"]))
        return
    try:
        earlier = sent.first(order["client_id"], {key: order[key] for key in ("venue", "symbol", "side", "size")})
    except OSError as error:
        row.update(verdict=REFUSED, why="%s cannot be written (%s): what is not written down first is not sent" % (sent.folder, error.strerror))
        return
    row["sent"] = True
    row["why"] = "an order was sent; the position was not read since"
    if earlier:
        row["outcome"], said = "sent before", "it was sent at %s and is not sent again" % earlier
    else:
        row["outcome"], said = _send(desk, order, position)
    _prove(desk, row, order, said)


def now_held(desk: Desk, order: Mapping[str, Any]) -> dict[str, Any] | None:
    """The position as the venue shows it now: of the order's side, or in one-way mode whatever is held; None where nothing is."""
    found = [held(desk.client, one) for one in pages(desk, [order["symbol"]], {}) if one.get("contracts")]
    found = [one for one in found if one["symbol"] == order["symbol"]]
    same = [one for one in found if one["side"] == order["side"]]
    return same[0] if same else next((one for one in found if not one["hedged"]), None)


def _refusal(desk: Desk, order: Mapping[str, Any], position: Mapping[str, Any] | None) -> str:
    """Why the position may not be closed as it is now, or an empty text."""
    if position is None:
        return ""
    was, now = "%s %s" % (order["side"], order["size"]), "%s %s" % (position["side"], position["size"])
    if was != now or position["contracts"] != order["contracts"]:
        return "the position changed since: it was %s and is %s" % (was, now)
    if position["quote"] not in DOLLARS:
        return "it is priced in %s, and andon_close_cap is in dollars" % position["quote"]
    if position["notional"] is None:
        return "the venue gives no price, so that it cannot be compared with andon_close_cap"
    if desk.client.has.get("createReduceOnlyOrder") not in (True, "emulated"):
        return "ccxt has no reduce-only orders for %s: close it in the venue's own interface" % desk.venue.exchange
    return ""


def _send(desk: Desk, order: Mapping[str, Any], position: Mapping[str, Any]) -> tuple[str, str]:
    """One reduce-only market order. Returns (outcome, the venue's words); the outcome is noted and not believed."""
    params: dict[str, Any] = {"reduceOnly": True, "clientOrderId": order["client_id"]}
    if position["hedged"]:
        params["hedged"] = True  # ccxt turns it into the venue's own way to name the side
    side = "sell" if position["side"] == "long" else "buy"
    amount = float(exact(position["contracts"]) or 0)
    what = "close %s" % order["confirm"]
    # _try never sends anything twice, and tells a refusal from an answer that did not come.
    outcome = desk._try(what, [order["client_id"]], "create_order", order["symbol"], "market", side, amount, None, params)
    last = desk.attempts[-1] if desk.attempts and desk.attempts[-1]["what"] == what else {"words": ""}
    return outcome, last["words"]


def find_order(desk: Desk, order: Mapping[str, Any]) -> dict[str, Any] | None:
    """Our order by its client order id, as the venue shows it; None where it does not. Raises ccxt's exceptions."""
    key = BY_CLIENT_ID.get(desk.venue.exchange)
    params = {key: order["client_id"]} if key else {}
    for theirs, method in (
        ("fetchCanceledAndClosedOrders", "fetch_canceled_and_closed_orders"),
        ("fetchClosedOrders", "fetch_closed_orders"),
        ("fetchOrders", "fetch_orders"),
        ("fetchOpenOrders", "fetch_open_orders"),
    ):
        if desk.client.has.get(theirs) is not True:
            continue
        for one in desk.read(method, order["symbol"], None, None, dict(params)):
            if one.get("clientOrderId") == order["client_id"]:
                return {key: one.get(key) for key in ("id", "status", "filled", "remaining", "average")}
    return None


def _prove(desk: Desk, row: dict[str, Any], order: Mapping[str, Any], said: str) -> None:
    """Watches the position until it is gone or the order is over; the position alone is the proof."""
    ends = time.monotonic() + min(SETTLE, max(desk.clock.left() - 0.5, 0.2))
    wrong = ""
    while True:
        over, last = _over(row), time.monotonic() >= ends
        try:
            position = now_held(desk, order)
            row["after"], row["now"], wrong = position["size"] if position else "0", position["side"] if position else "", ""
            if position is None or over or last:
                break
            row["order"] = find_order(desk, order)
        except Exception as error:  # asked again until the time is up: what counts is the last look
            row["after"], wrong = None, desk.words(error)
            if last:
                break
        time.sleep(AGAIN)
    if row["order"] is None and row["after"] == "0":
        with contextlib.suppress(Exception):  # the position is the proof; the order's figures are only worth showing
            row["order"] = find_order(desk, order)
    row["verdict"], row["why"] = _verdict(row, order, said, wrong)


def _over(row: Mapping[str, Any]) -> bool:
    """True when nothing more will come of the order: the venue refused it, or shows it as ended. The look after that decides."""
    return row["outcome"] in ("rejected", "unsupported") or bool(row["order"] and row["order"]["status"] in FINAL)


def _verdict(row: Mapping[str, Any], order: Mapping[str, Any], said: str, wrong: str) -> tuple[str, str]:
    answer = {
        "answered": "the venue took the order",
        "rejected": "the venue refused the order (%s)" % said,
        "unsupported": "the order was not sent (%s)" % said,
        "gone": "the venue refused the order (%s)" % said,
        "unknown": "no answer to the order (%s)" % said,
        "sent before": said,
    }[row["outcome"]]
    seen = row["order"]
    if seen:
        answer += "; it shows it as %s, %s filled" % (clean(seen["status"] or "?", 20), seen["filled"] if seen["filled"] is not None else "?")
    if row["after"] is None:
        return UNKNOWN, "%s, and the position could not be read: %s" % (answer, wrong)
    if row["after"] == "0":
        return (FLAT, "it was gone when the order came; %s" % answer) if row["outcome"] == "rejected" else (CLOSED, answer)
    left = "%s %s is still held" % (row["now"], row["after"])
    if row["outcome"] in ("rejected", "unsupported", "gone") or (seen and seen["status"] in FINAL):
        return NOT_CLOSED, "%s; %s" % (left.strip(), answer)
    if not seen:
        answer += "; no order %s is shown" % order["client_id"]
    return UNKNOWN, "%s, and the order may still come; %s" % (left.strip(), answer)


def headline(rows: list[dict[str, Any]], check: bool) -> str:
    """2/3 CLOSED, 1 REFUSED."""
    word = WOULD_CLOSE if check else CLOSED
    parts = ["%d/%d %s" % (sum(row["verdict"] == word for row in rows), len(rows), word)]
    for verdict in (FLAT, NOT_CLOSED, UNKNOWN, REFUSED):
        count = sum(row["verdict"] == verdict for row in rows)
        if count:
            parts.append("%d %s" % (count, verdict))
    return ", ".join(parts)


def line(row: Mapping[str, Any]) -> str:
    """A row on one line."""
    return "%-12s %s %s" % (row["verdict"], clean(row["confirm"], 40), clean(row["why"], 200))
