"""What we claim against what the venue shows: each verdict, what must never be one, and the same against ccxt and the lab's venue."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andon import positions, reconcile
from andon.amounts import exact, words
from andon.reconcile import Claim, Source, judge
from andon.venues import Run
from tests.support.venue import entry as venue_entry

BTC = "BTC/USDT:USDT"
MARKET = {"kind": "linear", "contract_size": "1", "step": "0.001", "unit": "BTC", "quote": "USDT", "settle": "USDT"}


def book(*held, name="main", ok=True, mode="oneway", why="", market=MARKET, missing=()):
    """A venue's book with positions (symbol, side, size)."""
    symbols = {symbol for symbol, _, _ in held} | {BTC}
    return {
        **positions.blank(name),
        "ok": ok,
        "why": why,
        "markets": dict.fromkeys(symbols, market),
        "modes": {symbol: mode for symbol in symbols if mode},
        "missing": list(missing),
        "positions": [{**position(symbol, side, size), "hedged": mode == "hedge"} for symbol, side, size in held],
    }


def position(symbol, side, size):
    money = {"entry": "100", "mark": "101", "liquidation": None, "pnl": "0.5", "notional": words(Decimal(size) * 101), "quote": "USDT", "settle": "USDT"}
    return {"symbol": symbol, "side": side, "contracts": size, "size": size, "unit": "BTC", **money}


def source(*claims, component="bot", venue="main", symbols=(), ok=True, why=""):
    """A component that was read, with claims (symbol, side, size)."""
    return Source("h1", component, venue, symbols, ok, why, [Claim(symbol, side, Decimal(size)) for symbol, side, size in claims])


def verdicts(sources, *books, bare=None, only=""):
    return [(row["symbol"], row["side"], row["verdict"]) for row in judge(sources, books, bare or {}, only=only)]


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"),
    [
        ([("long", "0.5")], [("long", "0.5")], "MATCH"),
        ([("long", "0.5004")], [("long", "0.5")], "MATCH"),  # less than a step: the bot's own rounding
        ([("long", "0.501")], [("long", "0.5")], "SIZE DIFFERS"),
        ([("long", "0.5")], [], "GHOST"),
        ([], [("long", "0.5")], "ORPHAN"),
        ([], [("short", "0.0001")], "ORPHAN"),  # whatever its size: the venue has it
        ([("short", "0.5")], [("long", "0.5")], "SIZE DIFFERS"),
        ([("long", "0.3"), ("long", "0.2")], [("long", "0.5")], "MATCH"),  # two bots on one account
        ([("long", "0.8"), ("short", "0.3")], [("long", "0.5")], "MATCH"),  # one-way: the venue nets them
        ([("long", "0.3"), ("short", "0.3")], [], "MATCH"),
        ([("long", "0.3"), ("short", "0.3")], [("long", "0.3")], "SIZE DIFFERS"),
    ],
)
def test_each_verdict_in_one_way_mode(ours, theirs, verdict):
    sources = [source((BTC, side, size), component=f"bot{n}") for n, (side, size) in enumerate(ours)] or [source()]
    (row,) = judge(sources, [book(*((BTC, side, size) for side, size in theirs))], {})
    assert row["verdict"] == verdict and len(row["parts"]) == len(ours)
    assert (row["confirm"] is not None) is (verdict == "ORPHAN")


def test_in_hedge_mode_both_sides_stand_for_themselves():
    sources = [source((BTC, "long", "0.5")), source((BTC, "short", "0.2"), component="other")]
    found = verdicts(sources, book((BTC, "long", "0.5"), (BTC, "short", "0.2"), mode="hedge"))
    assert found == [(BTC, "long", "MATCH"), (BTC, "short", "MATCH")]
    found = verdicts([source((BTC, "short", "0.2"))], book((BTC, "long", "0.2"), mode="hedge"))
    assert found == [(BTC, "long", "ORPHAN"), (BTC, "short", "GHOST")]
    # Both sides claimed, nothing there, and the venue does not say whether it nets them: 0 may be right or wrong.
    assert verdicts(sources, book(mode="")) == [(BTC, "", "UNKNOWN")]


def test_what_could_not_be_read_is_unknown_and_nothing_else():
    orphan = book((BTC, "long", "0.5"), ("ETH/USDT:USDT", "long", "1"))
    dead = source(component="dead", ok=False, why="unreachable")
    found = verdicts([source((BTC, "long", "0.5")), dead], orphan)
    assert {verdict for _, _, verdict in found} == {"UNKNOWN"} and len(found) == 3, "a match is none either: the dead one may claim more"
    # One that is known to trade one symbol leaves the others alone.
    narrow = source(component="dead", ok=False, why="unreachable", symbols=("ETH/USDT:USDT",))
    assert [v for _, _, v in verdicts([source((BTC, "long", "0.5")), narrow], orphan)] == ["UNKNOWN", "UNKNOWN", "MATCH"]
    # One that does not say which venue may hold it at each.
    nowhere = source(component="dead", ok=False, venue="")
    assert {v for _, _, v in verdicts([nowhere], orphan)} == {"UNKNOWN"}
    # The venue's side.
    found = judge([source((BTC, "long", "0.5"))], [book(ok=False, why="down")], {})
    assert [row["verdict"] for row in found] == ["UNKNOWN", "UNKNOWN"] and "down" in found[0]["why"]
    # A claim at a venue that is not configured, of a symbol that the venue does not have, of a spot holding.
    assert "no venue 'other'" in judge([source((BTC, "long", "1"), venue="other")], [book()], {})[0]["why"]
    assert "no such symbol" in judge([source(("X/Y:Y", "long", "1"))], [book(missing=("X/Y:Y",))], {})[0]["why"]
    assert "balance" in judge([source((BTC, "long", "1"))], [book(market={**MARKET, "kind": "spot"})], {})[0]["why"]


def test_nobody_who_could_claim_it_is_not_the_same_as_an_orphan():
    held = book((BTC, "long", "0.5"))
    (row,) = judge([], [held], {})
    assert row["verdict"] == "UNCLAIMED" and "no adapter is configured" in row["why"] and row["confirm"] == f"{BTC} 0.5"
    (row,) = judge([source()], [held], {"main": ["grid"]})
    assert row["verdict"] == "UNCLAIMED" and "it may be of grid" in row["why"]
    assert judge([source()], [held], {"": ["grid"]})[0]["verdict"] == "UNCLAIMED", "one that does not say where it trades"
    assert judge([source()], [held], {"alt": ["grid"]})[0]["verdict"] == "ORPHAN"
    assert judge([source(venue="other")], [held], {}, only="main")[0]["verdict"] == "UNCLAIMED"
    assert judge([source()], [book()], {}) == []


def test_the_words_that_confirm_are_never_the_same_for_two():
    rows = judge([], [book((BTC, "long", "0.5"), (BTC, "short", "0.5"), mode="hedge"), book((BTC, "long", "0.7"), name="alt")], {})
    assert [row["confirm"] for row in rows] == [f"{BTC} 0.7", f"main long {BTC} 0.5", f"main short {BTC} 0.5"]
    ids = {reconcile.client_id("r1", row) for row in rows} | {reconcile.client_id("r2", rows[0])}
    assert len(ids) == 4 and all(len(one) == 18 and one.isalnum() for one in ids)


def test_hosts_that_do_not_answer_and_containers_that_nobody_has():
    one = {"name": "ft", "adapter": {"kind": "freqtrade", "venue": {"name": "main", "symbols": [BTC]}}}
    grid = {"name": "grid", "component": "strategy", "venue": "main"}
    good = {"component": "ft", "outcome": "ok", "data": [{"ref": "1", "symbol": BTC, "side": "long", "qty": 0.1}]}
    components = {"h1": [one, grid], "h2": [one, grid]}
    sources = reconcile.gather(components, {"h1": [good], "h2": []}, {})
    assert [(s.host, s.ok, s.claims[0].size) for s in sources] == [("h1", True, Decimal("0.1"))]
    sources = reconcile.gather(components, {"h1": [good], "h2": None}, {"h2": "unreachable"})
    assert [(s.host, s.ok, s.why) for s in sources] == [("h1", True, ""), ("h2", False, "unreachable")], "h2 may run one as well"
    sources = reconcile.gather(components, {"h1": [], "h2": []}, {})
    assert [(s.ok, s.why) for s in sources] == [(False, "no host has this container")]
    # What is only labelled counts too, and a host that was not seen may run anything.
    run = [{"name": "ft", "component": "strategy"}, {"name": "arb", "component": "strategy", "venue": "alt"}, {"name": "feed", "component": "data"}]
    assert reconcile.silent(components, {"h1": run, "h2": []}) == {"main": ["grid"], "alt": ["arb"]}
    assert reconcile.silent(components, {"h1": [{"name": "mm", "component": "strategy"}]}) == {"main": ["grid"], "": ["mm", "what runs on h2"]}


@pytest.mark.parametrize(
    "change",
    [
        {"outcome": "unknown", "why": "no answer"},
        {"outcome": "unsupported"},
        {"data": None},
        {"data": [{"symbol": BTC, "side": "long", "qty": -1}]},
        {"data": [{"symbol": BTC, "side": "long", "qty": "nan"}]},
        {"data": [{"symbol": BTC, "side": "long", "qty": True}]},
        {"data": [{"symbol": BTC, "side": "buy", "qty": 1}]},
        {"data": [{"symbol": "BTC\x1b[31m", "side": "long", "qty": 1}]},
        {"data": [{"symbol": BTC, "side": "long", "qty": 1}, "more"]},
    ],
)
def test_an_answer_that_is_not_in_the_form_is_no_answer(change):
    row = {"component": "ft", "outcome": "ok", "data": [], **change}
    good, why, claims = reconcile.told([row])["ft"]
    assert not good and why and claims == []


SIZES = st.integers(1, 2000).map(lambda n: Decimal(n) / 4000)  # quarters of a step: below one, and above
SIDES = st.sampled_from(["long", "short"])
CLAIMS = st.lists(st.tuples(SIDES, SIZES), max_size=4)
HELD = st.none() | st.tuples(SIDES, st.integers(1, 600).map(lambda n: Decimal(n) / 1000))


@settings(max_examples=60, deadline=None)
@given(CLAIMS, HELD, st.booleans(), st.randoms(use_true_random=False))
def test_one_way_verdicts_are_what_the_sums_say(claims, theirs, blind, random):
    sources = [source((BTC, side, words(size)), component=f"b{n}") for n, (side, size) in enumerate(claims)]
    sources.append(source(component="last", ok=not blind, why="dead"))
    shown = book(*([(BTC, theirs[0], words(theirs[1]))] if theirs else []))
    rows = judge(sources, [shown], {})
    random.shuffle(sources)
    assert [(r["verdict"], r["local"], r["actual"]) for r in judge(sources, [shown], {})] == [(r["verdict"], r["local"], r["actual"]) for r in rows]
    found = [row["verdict"] for row in rows]
    if blind:
        assert set(found) == {"UNKNOWN"}
        return
    local = sum((size if side == "long" else -size for side, size in claims), Decimal(0))
    actual = (theirs[1] if theirs[0] == "long" else -theirs[1]) if theirs else None
    if not claims:
        assert found == (["ORPHAN"] if theirs else [])
        return
    (verdict,) = found
    assert (verdict == "MATCH") is (abs(local - (actual or 0)) < Decimal("0.001"))
    if verdict != "MATCH":
        assert verdict == ("GHOST" if actual is None else "SIZE DIFFERS")
        assert exact(rows[0]["local"]) == local and exact(rows[0]["actual"]) == actual


def entry(server, **more):
    return venue_entry(server, **{"timeout_s": 20, **more})


def hold(server, symbol="BTCUSDT", side="Buy", size="0.02", **more):
    server.account.hold({"symbol": symbol, "side": side, "size": size, "avgPrice": "100", "markPrice": "110", "positionValue": "2", **more})


def test_the_venues_side_is_exact_and_every_claimed_symbol_is_asked_for(venue):
    hold(venue)
    hold(venue, "ETHUSDT", "Sell", "0.3")
    (read,) = positions.look(Run([entry(venue)]), {"main": [BTC, "ETH/USDT:USDT", "X/USDT:USDT"]}, 60)
    assert read["ok"], read["why"]
    assert [(p["symbol"], p["side"], p["size"]) for p in read["positions"]] == [(BTC, "long", "0.02"), ("ETH/USDT:USDT", "short", "0.3")]
    assert read["positions"][0]["notional"] == "2.2" and read["positions"][0]["pnl"] == "0.2", "at the mark price, not at the entry's"
    assert read["markets"][BTC] == MARKET and read["missing"] == ["X/USDT:USDT"] and read["modes"][BTC] == "oneway"
    # Only one symbol is looked at; the other is claimed, so it is asked for all the same.
    (read,) = positions.look(Run([entry(venue, symbols=[BTC], sections=[])]), {"main": ["ETH/USDT:USDT"]}, 60)
    assert [p["symbol"] for p in read["positions"]] == [BTC, "ETH/USDT:USDT"]
    hold(venue, "BTCUSDT", "Sell", "0.01", positionIdx=2)
    (read,) = positions.look(Run([entry(venue)]), {}, 60)
    assert read["modes"][BTC] == "hedge" and ("short", "0.01") in [(p["side"], p["size"]) for p in read["positions"]]


def test_a_list_that_is_cut_off_or_a_venue_that_is_down_is_not_read(venue, monkeypatch):
    hold(venue)
    monkeypatch.setattr(positions, "PAGE", 1)
    (read,) = positions.look(Run([entry(venue)]), {}, 60)
    assert not read["ok"] and "cut" in read["why"]
    venue.account.faults["error500"] = 1
    bad = {**entry(venue), "name": "wrong", "sections": []}
    reads = positions.look(Run([entry(venue), bad]), {}, 60)
    assert [one["ok"] for one in reads] == [False, False] and "name what is to be looked at" in reads[1]["why"]
    assert "SECRET-1" not in str(reads)
