"""The reports of `andon cancel-orders` and `andon venues`."""

from __future__ import annotations

from typing import Any

from . import report
from .text import clean, plural
from .venue_words import OK, REFUSED, detail, one_line, orders


def make(act: str, rows: list[dict[str, Any]], check: bool) -> dict[str, Any]:
    """The `andon_report` over all venues. act: cancel or status. rows: venues.blank has the form. check: nothing was changed."""
    return _cancelled(rows, check) if act == "cancel" else _status(rows)


def _cancelled(rows: list[dict[str, Any]], check: bool) -> dict[str, Any]:
    found = orders(rows, check)
    naked = [row["name"] for row in rows if row["unprotected"]]
    then = [] if found["ok"] else ["andon venues   (which layer is broken)", "andon cancel-orders   (asking again is safe)"]
    if found["ok"] and naked:
        then = ["look at the positions without a stop: %s" % ", ".join(naked)]
    if check:
        then = ["andon cancel-orders"]
    return report.make("cancel_orders", found["ok"], found["line"], [one_line(row) for row in rows[:20]], detail(rows), found, then)


def status_line(row: dict[str, Any]) -> str:
    """A venue's state in one line: what is wrong, clock, key, orders, positions."""
    facts = row["status"]
    if row["verdict"] == REFUSED or not facts:
        return one_line(row)
    skew = "clock %+.1f s" % facts["skew"] if facts["skew"] is not None else "clock unknown"
    return one_line(row, (skew, "key OK" if facts["credentials"] == OK else "key NOT OK"))


def _status(rows: list[dict[str, Any]]) -> dict[str, Any]:
    good = [row for row in rows if row["verdict"] == OK]
    bad = [row for row in rows if row["verdict"] != OK]
    line = "%d/%s OK" % (len(good), plural(len(rows), "venue"))
    if bad:
        line += ", not: %s" % "; ".join("%s %s: %s" % (row["name"], row["verdict"], row["why"]) for row in bad)
    lines = [status_line(row) for row in sorted(rows, key=lambda row: row["verdict"] == OK)]
    below = []
    for row in rows:
        for layer in (row["status"] or {}).get("layers") or []:
            below.append("%-14s %s" % (clean(row["name"], 14), clean(layer, 160)))
        if row.get("switch"):
            below.append("%-14s %s" % (clean(row["name"], 14), row["switch"]))
    then = [] if not bad else ["andon venue check   (which layer, and from where)"]
    return report.make("venue_status", bool(rows) and not bad, line, lines[:20], below + detail(rows), {"venues": rows}, then)
