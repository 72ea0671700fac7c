"""Reconciliations that are kept, and the money clock: exposure and P&L since the incident was declared, from one to the next.

A file per reconciliation in the incident's folder, or in the state's where no incident is open: reconciliations/<id>.json. Nothing is
asked of a venue here, and few files are read: `andon status` must answer at once.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from . import incidents, journal, state
from .amounts import words
from .text import clean, duration, valid_id

SCHEMA = "andon.reconciliation/1"
FOLDER = "reconciliations"
BEFORE = 900.0  # seconds before the declaration: a figure of that age still says what it was when the incident was declared
NEWEST = 20  # files that are looked through for a venue's last figures
STARTING = 5  # files from the declaration on that are looked through for its first ones


class NotKept(Exception):
    """There is no such reconciliation, or it cannot be read; the message is for an operator."""


# Files


def new_id(now: str) -> str:
    """A reconciliation's id from the time it was made (UTC, ms): 20261122T030405678Z. Sorts by time."""
    return now.replace("-", "").replace(":", "").replace(".", "")


def made_at(ident: str) -> float | None:
    """The Unix time in an id."""
    day, _, clock = ident.partition("T")
    if len(day) != 8 or len(clock) < 10:
        return None
    return state.parse_utc("%s-%s-%sT%s:%s:%s.%s" % (day[:4], day[4:6], day[6:], clock[:2], clock[2:4], clock[4:6], clock[6:9] + "Z"))


def current_incident() -> str | None:
    """The open incident's id; None also where its journal cannot be read: a reconciliation is made all the same."""
    with contextlib.suppress(incidents.IncidentError, journal.JournalError, OSError):
        return incidents.current()
    return None


def folders(incident: str | None) -> list[Path]:
    """Where reconciliations are: the incident's folder first."""
    found = [state.state_dir() / FOLDER]
    if incident:
        found.insert(0, incidents.incidents_dir() / incident / FOLDER)
    return found


def keep(document: Mapping[str, Any], incident: str | None) -> Path:
    """Writes a reconciliation; never over another one.

    Raises:
        OSError: it cannot be written (disk full), or there is one of this id.
    """
    folder = folders(incident)[0]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ("%s.json" % document["id"])
    if path.exists():
        raise FileExistsError("there is a reconciliation %s already" % document["id"])
    state.write_atomic(path, dict(document))
    return path


def names(incident: str | None) -> list[tuple[str, Path]]:
    """(id, file) of what is kept for an incident and outside of incidents, the oldest first."""
    found: dict[str, Path] = {}
    for folder in folders(incident):
        try:
            some = [name for name in os.listdir(folder) if name.endswith(".json")]
        except OSError:
            continue
        for name in some:
            ident = name[: -len(".json")]
            if valid_id(ident) and made_at(ident) is not None:
                found.setdefault(ident, folder / name)
    return sorted(found.items())


def read(path: Path) -> dict[str, Any]:
    """One reconciliation. Raises NotKept."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NotKept("the reconciliation %s cannot be read: %s" % (path, clean(error, 120))) from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA or not isinstance(document.get("rows"), list):
        raise NotKept("%s is no reconciliation" % path)
    return document


def find(ident: str, incident: str | None) -> tuple[dict[str, Any], Path]:
    """A reconciliation by its id, or the newest one for an empty id; and its file.

    Raises:
        NotKept: there is none, or it cannot be read.
    """
    kept = names(incident)
    if not ident:
        if not kept:
            raise NotKept("no reconciliation is kept. Type: andon positions")
        path = kept[-1][1]
    elif not valid_id(ident):
        raise NotKept("'%s' cannot be a reconciliation's id" % clean(ident, 60))
    else:
        elsewhere = sorted(incidents.incidents_dir().glob("*/%s/%s.json" % (FOLDER, ident)))
        path = next((p for name, p in kept if name == ident), elsewhere[0] if elsewhere else Path())
        if not path.name:
            raise NotKept("there is no reconciliation %s; the newest is %s" % (ident, kept[-1][0] if kept else "none"))
    return read(path), path


# Figures


def figures(book: Mapping[str, Any]) -> dict[str, Any]:
    """A venue's money at one moment, from its book (positions.blank).

    Returns:
        at, exposure and pnl ({currency: text}; None where a position has no figure, {} where nothing is held), positions (count).
    """
    exposure: dict[str, Decimal] | None = {}
    pnl: dict[str, Decimal] | None = {}
    for one in book["positions"]:
        exposure = _add(exposure, one["quote"], one["notional"])
        pnl = _add(pnl, one["settle"], one["pnl"])
    return {"at": book["at"], "exposure": _texts(exposure), "pnl": _texts(pnl), "positions": len(book["positions"])}


def _add(sums: dict[str, Decimal] | None, currency: str, value: str | None) -> dict[str, Decimal] | None:
    if sums is None or value is None:
        return None  # a sum without one of its parts would be a smaller number, and look like a better one
    return {**sums, currency: sums.get(currency, Decimal(0)) + Decimal(value)}


def _texts(sums: dict[str, Decimal] | None) -> dict[str, str] | None:
    return None if sums is None else {currency: words(value) for currency, value in sums.items()}


# The money clock


def clock(incident: str | None, declared: float | None) -> dict[str, dict[str, Any]]:
    """Per venue its last figures, and the first ones of the incident.

    Args:
        incident: the open incident's id. declared: when it was declared, Unix seconds; None: no drift is told.

    Returns:
        {venue: {"last": figures, "first": figures or None}}; {} where nothing was reconciled. The first figures are the last ones from
        the quarter of an hour before the declaration, else the first ones after it.
    """
    kept = names(incident)
    found: dict[str, dict[str, Any]] = {}
    for _, path in reversed(kept[-NEWEST:]):
        for venue, figure in _venues(path).items():
            found.setdefault(venue, {"last": figure, "first": None})
    if declared is None:
        return found
    times = [(made_at(name) or 0.0, path) for name, path in kept]
    before = [path for at, path in times if declared - BEFORE <= at <= declared]
    after = [path for at, path in times if at > declared]
    for path in [*reversed(before[-STARTING:]), *after[:STARTING]]:
        for venue, figure in _venues(path).items():
            if venue in found and found[venue]["first"] is None:
                found[venue]["first"] = figure
    return found


def _venues(path: Path) -> dict[str, dict[str, Any]]:
    with contextlib.suppress(NotKept, TypeError, AttributeError):
        venues = read(path).get("venues") or {}
        return {str(name): one for name, one in venues.items() if isinstance(one, dict) and one.get("ok") and state.parse_utc(one.get("at"))}
    return {}  # a broken file takes its own figures away, not the others'


def _sums(figures_of: Iterable[Mapping[str, Any]], key: str) -> dict[str, Decimal] | None:
    sums: dict[str, Decimal] | None = {}
    for one in figures_of:
        if not isinstance(one.get(key), dict):
            return None
        for currency, value in one[key].items():
            sums = _add(sums, clean(currency, 10), str(value))
    return sums


def money(value: Decimal, sign: bool = False) -> str:
    """12 345.60 or, with a sign, +12 345.60: two digits, or more where it is small."""
    small = 0 < abs(value) < 1
    text = ("{:+,.%df}" if sign else "{:,.%df}") % (6 if small else 2)
    return text.format(value).replace(",", " ")


def _words(sums: dict[str, Decimal] | None, sign: bool = False) -> str:
    if sums is None:
        return "UNKNOWN"
    return ", ".join("%s %s" % (money(value, sign), currency) for currency, value in sorted(sums.items())) or "0"


def _drift(last: dict[str, Decimal] | None, first: dict[str, Decimal] | None) -> dict[str, Decimal] | None:
    if last is None or first is None:
        return None
    return {currency: last.get(currency, Decimal(0)) - first.get(currency, Decimal(0)) for currency in {**last, **first}}


def money_lines(found: Mapping[str, Mapping[str, Any]], now: float) -> tuple[list[str], list[str]]:
    """The money clock in words: (for the summary, per venue for the detail). found: see `clock`. now: Unix seconds."""
    if not found:
        return [], []
    lasts = [one["last"] for one in found.values()]
    ages = [now - (state.parse_utc(one["at"]) or now) for one in lasts]
    age = duration(max(ages)) + " old" if max(ages) - min(ages) < 2 else "%s to %s old" % (duration(min(ages)), duration(max(ages)))
    firsts = [one["first"] for one in found.values() if one["first"]]
    summary = []
    for title, key, sign in (("EXPOSURE", "exposure", False), ("P&L", "pnl", True)):
        last = _sums(lasts, key)
        text = "%-10s %s (%s)" % (title, _words(last, sign), age)
        if len(firsts) == len(lasts) and any(one["first"]["at"] != one["last"]["at"] for one in found.values()):
            drift = _drift(last, _sums(firsts, key))
            text += ", %s since %s" % (_words(drift, True), min(one["at"] for one in firsts)[11:19] + "Z")
        summary.append(text)
    return summary, [_venue_line(venue, one, now) for venue, one in sorted(found.items())]


def _venue_line(venue: str, one: Mapping[str, Any], now: float) -> str:
    last, first = one["last"], one["first"]
    at = state.parse_utc(last["at"]) or now
    parts = ["MONEY %s" % clean(venue, 30)]
    parts.append(
        "exposure %s, unrealised P&L %s at %s (%s old)"
        % (_words(_sums([last], "exposure")), _words(_sums([last], "pnl"), True), last["at"], duration(now - at))
    )
    if first and first["at"] != last["at"]:
        exposure, pnl = (_drift(_sums([last], key), _sums([first], key)) for key in ("exposure", "pnl"))
        parts.append("since %s: exposure %s, unrealised P&L %s" % (first["at"], _words(exposure, True), _words(pnl, True)))
    return "  ".join(parts)


def status_part(now: float, configured: bool) -> tuple[list[str], list[str], dict[str, Any]]:
    """What `andon status` shows of the money: (summary, detail, data). Reads files only, and never raises.

    Args:
        now: Unix seconds. configured: there are venues, so that a reconciliation could be made.
    """
    try:
        incident = current_incident()
        declared = incidents.load(incident).opened if incident else None
        found = clock(incident, declared)
        summary, below = money_lines(found, now)
    except Exception as error:  # what is halted must be shown whatever lies in these files
        return ["WARNING: the kept reconciliations cannot be read: %s" % clean(error, 120)], [], {}
    if not found and (configured or incident):
        summary = ["MONEY      no reconciliation yet; andon positions"]
    return summary, below, {"money": {"incident": incident, "venues": found}} if found else {}


def newer_than(ident: str, venue: str, kept: Sequence[tuple[str, Path]]) -> str:
    """The id of a later reconciliation that read this venue, or an empty text."""
    for name, path in reversed(kept):
        if name <= ident:
            return ""
        if venue in _venues(path):
            return name
    return ""
