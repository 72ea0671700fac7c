"""The money clock: exposure and P&L since the declaration, from kept reconciliations; each figure with its age, and nothing made up."""

from __future__ import annotations

import json

import pytest

from andon import incidents, positions, reconciliations, state
from andon.reconciliations import NotKept

DECLARED = state.parse_utc("2026-11-22T03:00:00.000Z")


def position(symbol="BTC/USDT:USDT", notional="1000", pnl="-5.5", quote="USDT", settle="USDT"):
    return {"symbol": symbol, "notional": notional, "pnl": pnl, "quote": quote, "settle": settle}


def keep(at, incident=None, **venues):
    """A reconciliation at a time, with venues {name: positions, or a reason why it was not read}."""
    books = [
        {**positions.blank(name), "at": at, **({"ok": False, "why": some} if isinstance(some, str) else {"ok": True, "positions": some})}
        for name, some in venues.items()
    ]
    figures = {book["name"]: {"ok": book["ok"], "why": book["why"], **reconciliations.figures(book)} for book in books}
    return reconciliations.keep({"schema": reconciliations.SCHEMA, "id": reconciliations.new_id(at), "at": at, "rows": [], "venues": figures}, incident)


def shown(now, declared=DECLARED, incident=None):
    return reconciliations.money_lines(reconciliations.clock(incident, declared), state.parse_utc(now))


def test_drift_since_the_declaration_with_times_and_ages():
    keep("2026-11-22T02:00:00.000Z", main=[position(notional="9")])  # an hour before: too old to speak of the declaration
    keep("2026-11-22T02:55:00.000Z", main=[position(notional="1000", pnl="10")])
    keep("2026-11-22T03:05:00.000Z", main=[position(notional="1100", pnl="2")])
    keep("2026-11-22T03:20:00.000Z", main=[position(notional="1500.25", pnl="-40.5"), position("ETH/USDT:USDT", "0.75", "0")])
    summary, below = shown("2026-11-22T03:22:00.000Z")
    assert summary == [
        "EXPOSURE   1 501.00 USDT (2 min 00 s old), +501.00 USDT since 02:55:00Z",
        "P&L        -40.50 USDT (2 min 00 s old), -50.50 USDT since 02:55:00Z",
    ]
    assert below == [
        "MONEY main  exposure 1 501.00 USDT, unrealised P&L -40.50 USDT at 2026-11-22T03:20:00.000Z (2 min 00 s old)  "
        "since 2026-11-22T02:55:00.000Z: exposure +501.00 USDT, unrealised P&L -50.50 USDT"
    ]
    assert all(len(line) <= 80 for line in summary)
    # Without an incident there is no drift to tell.
    assert shown("2026-11-22T03:22:00.000Z", None)[0] == ["EXPOSURE   1 501.00 USDT (2 min 00 s old)", "P&L        -40.50 USDT (2 min 00 s old)"]


def test_the_first_look_after_the_declaration_counts_where_there_is_none_before():
    keep("2026-11-22T03:05:00.000Z", main=[position()])
    assert shown("2026-11-22T03:05:30.000Z")[0][0] == "EXPOSURE   1 000.00 USDT (30 s old)", "one look has no drift"
    keep("2026-11-22T03:10:00.000Z", main=[])
    summary, _ = shown("2026-11-22T03:10:01.000Z")
    assert summary[0] == "EXPOSURE   0 (1.0 s old), -1 000.00 USDT since 03:05:00Z"


def test_a_venue_that_was_not_read_keeps_its_last_figures_and_their_age():
    keep("2026-11-22T03:05:00.000Z", main=[position()], alt=[position(notional="50", settle="USDC", quote="USDC")])
    keep("2026-11-22T03:15:00.000Z", main=[position(notional="900")], alt="down")
    summary, below = shown("2026-11-22T03:16:00.000Z")
    assert summary[0].startswith("EXPOSURE   50.00 USDC, 900.00 USDT (1 min 00 s to 11 min 00 s old)"), "currencies are not added up"
    assert "11 min 00 s old" in below[0] and "since" not in below[0] and "-100.00 USDT" in below[1]
    # A position without a price makes the sum unknown, not smaller.
    keep("2026-11-22T03:17:00.000Z", main=[position(notional="900"), position(notional=None)], alt=[])
    assert shown("2026-11-22T03:17:00.000Z")[0][0].startswith("EXPOSURE   UNKNOWN")


def test_what_the_status_shows_is_files_only_and_a_broken_one_takes_nothing_else_away(monkeypatch):
    monkeypatch.setattr(positions, "look", None)
    assert reconciliations.status_part(DECLARED, False) == ([], [], {})
    assert reconciliations.status_part(DECLARED, True)[0] == ["MONEY      no reconciliation yet; andon positions"]
    name = incidents.open_incident("mismatch", 1, verb="open")
    assert "no reconciliation yet" in reconciliations.status_part(DECLARED, False)[0][0]
    declared = incidents.load(name).opened
    path = keep(state.utc(declared + 60), name, main=[position()])
    assert path.parent == incidents.folder(name) / "reconciliations"
    keep(state.utc(declared + 120), name, main=[position(notional="1200")])
    (path.parent / "20991122T030405678Z.json").write_text("{torn")
    summary, _, data = reconciliations.status_part(declared + 121, False)
    assert summary[0].startswith("EXPOSURE   1 200.00 USDT (1.0 s old), +200.00 USDT since ") and data["money"]["incident"] == name
    monkeypatch.setattr(reconciliations, "clock", lambda *args: 1 / 0)
    assert reconciliations.status_part(declared, True)[0][0].startswith("WARNING: the kept reconciliations cannot be read")


def test_a_long_incident_is_not_read_to_its_end(monkeypatch):
    for number in range(60):
        keep(state.utc(DECLARED + 60 * number), main=[position()])
    read = []
    real = reconciliations.read
    monkeypatch.setattr(reconciliations, "read", lambda path: read.append(path) or real(path))
    reconciliations.clock(None, DECLARED)
    assert len(read) <= reconciliations.NEWEST + 2 * reconciliations.STARTING


def test_reconciliations_are_found_and_never_written_over(tmp_path):
    with pytest.raises(NotKept, match="andon positions"):
        reconciliations.find("", None)
    path = keep("2026-11-22T03:05:00.000Z", main=[])
    with pytest.raises(FileExistsError):
        keep("2026-11-22T03:05:00.000Z", main=[])
    keep("2026-11-22T03:06:00.000Z", alt=[], main="down")
    ident = path.stem
    assert reconciliations.find("", None)[0]["at"] == "2026-11-22T03:06:00.000Z" and reconciliations.find(ident, None)[1] == path
    kept = reconciliations.names(None)
    assert reconciliations.newer_than(ident, "main", kept) == "", "the later one did not read it"
    keep("2026-11-22T03:07:00.000Z", main=[])
    assert reconciliations.newer_than(ident, "main", reconciliations.names(None)) == "20261122T030700000Z"
    for bad, words in (("../../etc/passwd", "cannot be"), ("20200101T000000000Z", "there is no reconciliation")):
        with pytest.raises(NotKept, match=words):
            reconciliations.find(bad, None)
    path.write_text(json.dumps({"schema": "other"}))
    with pytest.raises(NotKept, match="no reconciliation"):
        reconciliations.find(ident, None)
