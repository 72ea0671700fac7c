"""What our software says it holds, against what the venue shows: pure, from two readings to one verdict per position.

A difference is told apart from not knowing: where either side could not be read the verdict is UNKNOWN, never a match and never an orphan.
Sizes are compared exactly (Decimal), in base units, within one step of the market's amount: a bot's own rounding is no difference.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from .amounts import exact, words
from .text import clean, plural, valid_id, valid_name

MATCH = "MATCH"
DIFFERS = "SIZE DIFFERS"
GHOST = "GHOST"  # only our software has it
ORPHAN = "ORPHAN"  # only the venue has it, and everything that could claim it was asked
UNCLAIMED = "UNCLAIMED"  # only the venue has it, and nothing that we could ask would claim it
UNKNOWN = "UNKNOWN"
ORDER = (UNKNOWN, ORPHAN, DIFFERS, GHOST, UNCLAIMED, MATCH)  # worst first
READ = ("ok", "already")  # outcomes of an adapter's action whose answer counts
MOST_CLAIMS = 500  # of one component; more is not read as a list of positions


@dataclass(frozen=True)
class Claim:
    """One position that a component says it holds. size: base units, above 0; signed by side."""

    symbol: str
    side: str
    size: Decimal
    ref: str = ""
    as_of: str = ""

    @property
    def signed(self) -> Decimal:
        return self.size if self.side == "long" else -self.size


@dataclass
class Source:
    """A component that may hold positions, and what it says. venue "": it does not say where; symbols (): it does not say which."""

    host: str
    component: str
    venue: str = ""
    symbols: tuple[str, ...] = ()
    ok: bool = False
    why: str = ""
    claims: list[Claim] = field(default_factory=list)

    def may_hold(self, venue: str, symbol: str) -> bool:
        """True if a position there could be this component's, as far as it is configured."""
        return self.venue in ("", venue) and (not self.symbols or symbol in self.symbols)

    @property
    def name(self) -> str:
        return "%s on %s" % (clean(self.component, 40), clean(self.host, 30))


class BadClaim(ValueError):
    """A claim is not in the form of the contract."""


def claim(one: Any) -> Claim:
    """One claim of an adapter, checked. Raises BadClaim: then nothing of that component is believed."""
    if not isinstance(one, Mapping):
        raise BadClaim("a claim is not a mapping")
    symbol, side, size = one.get("symbol"), one.get("side"), exact(one.get("qty"))
    if not isinstance(symbol, str) or not 0 < len(symbol) <= 60 or clean(symbol, 60) != symbol:
        raise BadClaim("a claim without a usable symbol")
    if side not in ("long", "short"):
        raise BadClaim("the side of %s is '%s', not long or short" % (symbol, clean(side, 20)))
    if size is None or size <= 0 or size > Decimal("1e18") or size < Decimal("1e-18"):
        raise BadClaim("the size of %s is '%s'" % (symbol, clean(one.get("qty"), 30)))
    return Claim(symbol, side, size, clean(one.get("ref") or "", 40), clean(one.get("as_of") or "", 40))


def configured(components: Any) -> tuple[list[Source], dict[str, list[str]]]:
    """What an inventory says of one host: its components with an adapter (unread yet), and per venue the strategies without one.

    Args:
        components: andon_components.
    """
    sources, bare = [], {}
    for one in components if isinstance(components, (list, tuple)) else []:
        if not isinstance(one, Mapping) or not valid_name(one.get("name")):
            continue
        adapter = one.get("adapter")
        if isinstance(adapter, Mapping):
            where = adapter.get("venue") if isinstance(adapter.get("venue"), Mapping) else {}
            venue = where.get("name") or one.get("venue")
            symbols = where.get("symbols")
            listed = tuple(str(s) for s in symbols) if isinstance(symbols, (list, tuple)) else ()
            sources.append(Source("", str(one["name"]), str(venue) if valid_id(venue) else "", listed, why="it was not asked"))
        elif valid_id(one.get("venue")) and one.get("component") in (None, "", "strategy"):
            bare.setdefault(str(one["venue"]), []).append(str(one["name"]))
    return sources, bare


def told(rows: Any) -> dict[str, tuple[bool, str, list[Claim]]]:
    """What the module `adapter` returned for `positions`, per component: (good, why not, claims). A broken answer is none."""
    found: dict[str, tuple[bool, str, list[Claim]]] = {}
    for row in rows if isinstance(rows, (list, tuple)) else []:
        if not isinstance(row, Mapping) or not valid_name(row.get("component")):
            continue
        name, data = str(row["component"]), row.get("data")
        if row.get("outcome") not in READ:
            found[name] = (False, "%s: %s" % (clean(row.get("outcome") or "no outcome", 20), clean(row.get("why") or "no reason given", 160)), [])
        elif not isinstance(data, (list, tuple)) or len(data) > MOST_CLAIMS:
            found[name] = (False, "its answer is no list of positions", [])
        else:
            try:
                found[name] = (True, "", [claim(one) for one in data])
            except BadClaim as error:
                found[name] = (False, clean(error, 160), [])
    return found


def gather(hosts: Mapping[str, Any], answers: Mapping[str, Any], reasons: Mapping[str, str]) -> list[Source]:
    """All components that may hold positions and can be asked, over all hosts.

    A component is often in the variables of the whole group and runs on one host. Where every host answered, one that no host has is
    told once; a host that gave no answer may run each of those in its variables.

    Args:
        hosts: {host: andon_components}. answers: {host: the module's `adapters`, None without a good result}. reasons: {host: why None}.
    """
    sources: list[Source] = []
    absent: dict[str, Source] = {}
    for host in sorted(hosts):
        answered = answers.get(host) is not None
        said = told(answers[host]) if answered else {}
        for source in configured(hosts[host])[0]:
            source.host = host
            if source.component in said:
                source.ok, source.why, source.claims = said[source.component]
                sources.append(source)
            elif not answered:
                source.why = clean(reasons.get(host) or "the host gave no answer", 160)
                sources.append(source)
            else:
                absent[source.component] = source
    for name, source in absent.items():
        if name not in {one.component for one in sources}:
            source.why = "no host has this container"
            sources.append(source)
    return sources


def silent(hosts: Mapping[str, Any], seen: Mapping[str, Any]) -> dict[str, list[str]]:
    """{venue: who may hold positions there and has no adapter to ask}; venue "": at any of them.

    Args:
        hosts: {host: andon_components}. seen: {host: the covered containers (module host_state), None for a host that gave no answer}.
    """
    found: dict[str, set[str]] = {}
    for host, components in hosts.items():
        sources, bare = configured(components)
        for venue, names in bare.items():
            found.setdefault(venue, set()).update(names)
        known = {source.component for source in sources} | {name for names in bare.values() for name in names}
        containers = seen.get(host)
        if containers is None:
            found.setdefault("", set()).add("what runs on %s" % clean(host, 30))
        for one in containers or []:
            if one.get("component") == "strategy" and one.get("name") not in known:
                venue = one.get("venue")
                found.setdefault(str(venue) if valid_id(venue) else "", set()).add(clean(one.get("name"), 40))
    return {venue: sorted(names) for venue, names in found.items()}


def claimed_symbols(sources: Iterable[Source]) -> dict[str, list[str]]:
    """{venue: symbols that are claimed there}: what the venue must be asked for by name."""
    found: dict[str, set[str]] = {}
    for source in sources:
        for one in source.claims:
            found.setdefault(source.venue, set()).add(one.symbol)
    return {venue: sorted(symbols) for venue, symbols in found.items()}


# The comparison


def judge(sources: Sequence[Source], books: Sequence[Mapping[str, Any]], bare: Mapping[str, Sequence[str]], *, only: str = "") -> list[dict[str, Any]]:
    """One row per position and side, worst first.

    Args:
        sources: see `gather`. books: what the venues show (positions.blank has the form).
        bare: see `silent`. only: the one venue that was asked; claims elsewhere are not looked at.

    Returns:
        rows: venue, symbol ("*": everything there), side, verdict, local and actual (texts, base units, signed in one-way mode; None:
        nothing there), unit, why, parts (the claims), position (the venue's), confirm (what a person types to close it).
    """
    asked = [one for one in sources if not only or one.venue in ("", only)]
    rows = [_unread(one) for one in asked if not one.ok]
    for source in asked:
        if source.ok and source.claims and source.venue not in [book["name"] for book in books]:
            why = "there is no venue '%s' in andon_venues" % source.venue if source.venue else "its adapter names no venue (adapter.venue.name)"
            rows += [
                _row(source.venue or "?", one.symbol, one.side, UNKNOWN, one.signed, None, [(source, one)], why="%s: %s" % (source.name, why))
                for one in source.claims
            ]
    for book in books:
        rows += _book(asked, book, bare)
    rows.sort(key=lambda row: (ORDER.index(row["verdict"]), row["venue"], row["symbol"], row["side"]))
    _name_targets(rows)
    return rows


def _unread(source: Source) -> dict[str, Any]:
    symbols = ", ".join(source.symbols) or "*"
    row = _row(source.venue or "?", clean(symbols, 60), "", UNKNOWN, None, None, [], why="%s could not be asked: %s" % (source.name, source.why))
    return {**row, "component": source.component}


def _book(sources: Sequence[Source], book: Mapping[str, Any], bare: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    name = book["name"]
    claims: dict[str, list[tuple[Source, Claim]]] = {}
    for source in sources:
        for one in source.claims if source.ok and source.venue == name else []:
            claims.setdefault(one.symbol, []).append((source, one))
    if not book["ok"]:
        why = "the venue could not be read: %s" % book["why"]
        found = [_row(name, "*", "", UNKNOWN, None, None, [], why=why)]
        for symbol, some in sorted(claims.items()):
            found.append(_row(name, symbol, "", UNKNOWN, sum(one.signed for _, one in some), None, some, why=why))
        return found
    held: dict[str, list[Mapping[str, Any]]] = {}
    for position in book["positions"]:
        held.setdefault(position["symbol"], []).append(position)
    # Who would claim what nobody claims: nobody at all, or somebody who cannot be asked because it has no adapter.
    without = [*bare.get(name, ()), *bare.get("", ())]
    nobody = ""
    if not any(source.venue in ("", name) for source in sources):
        nobody = "no adapter is configured for this venue"
    elif without:
        nobody = "it may be of %s, which cannot be asked (no adapter)" % ", ".join(clean(one, 40) for one in without[:3])
    rows = []
    for symbol in sorted(set(claims) | set(held)):
        blind = [source.name for source in sources if not source.ok and source.may_hold(name, symbol)]
        rows += _symbol(book, symbol, claims.get(symbol, []), held.get(symbol, []), blind, nobody)
    return rows


def _symbol(book: Mapping[str, Any], symbol: str, claims: list[Any], held: list[Any], blind: list[str], nobody: str) -> list[dict[str, Any]]:
    market = book["markets"].get(symbol, {})
    why = ""
    if blind:
        why = "not all could be asked: %s" % ", ".join(blind[:3])
    elif symbol in book["missing"]:
        why = "the venue has no such symbol"
    elif claims and market.get("kind") == "spot":
        why = "a spot holding is a balance, not a position: compare it by hand"
    elif claims and market.get("kind") == "inverse":
        why = "an inverse contract is counted in %s: compare it by hand" % market.get("unit")
    elif any(position["side"] not in ("long", "short") for position in held):
        why = "the venue does not say which side it is"
    mode = book["modes"].get(symbol, "")
    if {position["side"] for position in held} == {"long", "short"}:
        mode = "hedge"
    if not why and not mode and {one.side for _, one in claims} == {"long", "short"}:
        why = "both sides are claimed, and the venue does not say whether it nets them"
    if why:
        local = sum((one.signed for _, one in claims), Decimal(0)) if claims else None
        some = held or [None]
        return [_row(book["name"], symbol, (p or {}).get("side", ""), UNKNOWN, local, _signed(p), claims, why, p, market) for p in some]
    sides = ("long", "short") if mode == "hedge" else ("",)
    rows = []
    for side in sides:
        ours = [pair for pair in claims if not side or pair[1].side == side]
        theirs = next((p for p in held if not side or p["side"] == side), None)
        if ours or theirs:
            rows.append(_compare(book["name"], symbol, ours, theirs, market, nobody))
    return rows


def _signed(position: Mapping[str, Any] | None) -> Decimal | None:
    if position is None:
        return None
    return Decimal(position["size"]) * (-1 if position["side"] == "short" else 1)


def _compare(venue: str, symbol: str, claims: list[Any], position: Any, market: Mapping[str, Any], nobody: str) -> dict[str, Any]:
    local = sum((one.signed for _, one in claims), Decimal(0)) if claims else None
    actual = _signed(position)
    step = Decimal(market["step"]) if market.get("step") else Decimal(0)
    why = ""
    if local is None:
        verdict, why = (UNCLAIMED, nobody) if nobody else (ORPHAN, "")
    elif local == (actual or 0) or abs(local - (actual or 0)) < step:
        verdict = MATCH
    elif actual is None:
        verdict = GHOST
    else:
        verdict, why = DIFFERS, "the venue has %s%s" % ("+" if actual > local else "", words(actual - local))
    side = position["side"] if position else "long" if (local or 0) > 0 else "short" if (local or 0) < 0 else ""
    return _row(venue, symbol, side, verdict, local, actual, claims, why, position, market)


def _row(
    venue: str,
    symbol: str,
    side: str,
    verdict: str,
    local: Decimal | None,
    actual: Decimal | None,
    claims: Sequence[tuple[Source, Claim]],
    why: str = "",
    position: Mapping[str, Any] | None = None,
    market: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    return {
        "venue": clean(venue, 64),
        "symbol": symbol,
        "side": side,
        "verdict": verdict,
        "local": words(local) if local is not None else None,
        "actual": words(actual) if actual is not None else None,
        "unit": (market or {}).get("unit", ""),
        "why": clean(why, 200),
        "parts": [{"component": s.component, "host": s.host, "side": c.side, "size": words(c.size), "ref": c.ref, "as_of": c.as_of} for s, c in claims],
        "position": dict(position) if position else None,
        "confirm": None,
    }


def _name_targets(rows: list[dict[str, Any]]) -> None:
    """Gives each position that may be closed the words that confirm it: symbol and size; venue and side too where those are not enough."""
    closable = [row for row in rows if row["verdict"] in (ORPHAN, UNCLAIMED)]
    short = [_short(row) for row in closable]
    for row in closable:
        row["confirm"] = _short(row) if short.count(_short(row)) == 1 else "%s %s %s" % (row["venue"], row["side"], _short(row))


def _short(row: Mapping[str, Any]) -> str:
    return "%s %s" % (row["symbol"], row["position"]["size"])


def client_id(reconciliation: str, row: Mapping[str, Any]) -> str:
    """The client order id of the order that closes one row of one reconciliation: always the same, so that a venue refuses a second one.

    18 letters and digits: kraken allows no more, okx no other characters.
    """
    text = "|".join((reconciliation, row["venue"], row["symbol"], row["side"], row["position"]["size"]))
    return "andon" + hashlib.sha256(text.encode()).hexdigest()[:13]


# In words


def headline(rows: Sequence[Mapping[str, Any]]) -> str:
    """3/5 MATCH, 1 UNKNOWN, 1 ORPHAN (main BTC/USDT:USDT 0.5)."""
    if not rows:
        return "0 positions: nothing is claimed and nothing is held"
    good = [row for row in rows if row["verdict"] == MATCH]
    parts = ["%d/%s MATCH" % (len(good), plural(len(rows), "position"))]
    for verdict in ORDER[:-1]:
        some = [row for row in rows if row["verdict"] == verdict]
        if some:
            parts.append("%d %s" % (len(some), verdict))
    return ", ".join(parts)


def line(row: Mapping[str, Any]) -> str:
    """A row on one line of 80 columns."""
    sizes = "ours %s, venue %s" % (row["local"] or "-", row["actual"] or "-")
    if row["verdict"] in (UNKNOWN, UNCLAIMED) and row["why"]:  # the reason says more than the sizes, and a line is cut at its end
        sizes = row["why"] if row["local"] is None and row["actual"] is None else "%s; %s" % (row["why"], sizes)
    return "%-12s %s %-20s %s" % (row["verdict"], clean(row["venue"], 10).ljust(10), clean(row["symbol"], 20), sizes)


def detail(row: Mapping[str, Any]) -> list[str]:
    """All that is known of a row: the whole reason, who claims it, the venue's figures."""
    where = "%s %s" % (clean(row["venue"], 30), clean(row["symbol"], 60))
    lines = ["%s %s%s" % (row["verdict"], where, ": " + row["why"] if row["why"] else "")]
    for part in row["parts"]:
        of = " as of %s" % part["as_of"] if part["as_of"] else ""
        lines.append("  ours   %s %s by %s on %s%s" % (part["side"], part["size"], clean(part["component"], 40), clean(part["host"], 30), of))
    position = row["position"]
    if position:
        said = ["%s %s" % (key, position[key]) for key in ("entry", "mark", "liquidation") if position[key] is not None]
        money = "worth %s %s, P&L %s %s" % (position["notional"] or "?", position["quote"], position["pnl"] or "?", position["settle"])
        lines.append("  venue  %s %s %s, %s%s" % (position["side"] or "?", position["size"], row["unit"], money, ", " + ", ".join(said) if said else ""))
    return lines
