"""What triggered the kill switch: drawdown, error rate or a person; and how sure that is. Pure: it reads nothing. Bastion only.

One piece of evidence is a dict:
    at (Unix time on the bastion's clock, None: not known), doubt (seconds by which it may be off), strength (trigger_lines), cause
    ("" when it names none), rule, record (log, latch, journal, adapter, alarm, note), host, where, strategy, component, count, words.

What triggered it is what comes first. The judge never says more than the evidence: what was not read may have come first, two
causes that the clocks cannot tell apart are a tie, and a switch that fired without saying why is just that.
"""

from __future__ import annotations

import textwrap
from typing import Any

from .report import make
from .shapes import mask
from .state import utc
from .text import clean, duration, plural
from .triage import RISING, at_words, clock_doubt, marked, pad, parse_since, shift_of, short, source_name  # noqa: F401 (parse_since: for the CLI)
from .trigger_lines import CAUSES, DOUBT, LIMIT, TRIP, TriggerPatterns, telling

Evidence = dict[str, Any]
NAMES = {"drawdown": "DRAWDOWN", "error_rate": "ERROR RATE", "manual": "MANUAL", "": "UNKNOWN"}
WORDS = {"drawdown": "drawdown", "error_rate": "error rate", "manual": "manual"}
LINK = 120.0  # seconds: a limit that was crossed so long before the switch fired, in the same log, is why
TOGETHER = 5.0  # seconds: what one log says within them belongs together
AGREE = 300.0  # seconds after the first record within which another kind of record agrees with it
BREAKERS = ("adapter", "gateway", "data")  # a circuit breaker there cuts a connection; it is no kill switch of trading


# Gathering


def of_hosts(hosts: dict[str, Any], strategy: str = "") -> tuple[list[Evidence], list[str]]:
    """Evidence from what read_triggers returned, and what is missing in it.

    Args:
        hosts: {host: its result, or a str that says why there is none}. strategy: leave out what is another strategy's.
    """
    found: list[Evidence] = []
    missing: list[str] = []
    doubts = clock_doubt(hosts)
    for host, seen in hosts.items():
        if isinstance(seen, str):
            missing.append("%s: %s" % (host, seen))
            continue
        shift = shift_of(seen.get("clock"))
        if seen["latch_error"]:
            missing.append("%s: %s" % (host, seen["latch_error"]))
        if seen["engine_error"]:
            missing.append("%s: %s" % (host, seen["engine_error"]))
        if seen["files_left_out"]:
            missing.append("%s: %d more log files match and were left out" % (host, seen["files_left_out"]))
        for one in seen["latches"]:
            of = one["scope"][len("strategy-") :] if one["scope"].startswith("strategy-") else ""
            if strategy and of and of != strategy:
                continue
            words = "%s pulled the cord%s" % (one["operator"] or "somebody", ": %s" % one["reason"] if one["reason"] else "")
            # The stop writes the bastion's time into a latch, so the host's clock does not matter.
            found.append(_evidence(one["at"], 0.0, TRIP, "manual", "", "latch", host, one["scope"], of, "", 1, words, actor=one["operator"]))
        for source in seen["sources"]:
            if strategy and source["strategy"] and source["strategy"] != strategy:
                continue
            name = source_name(source)
            if source["error"]:
                missing.append("%s %s: %s" % (host, name, source["error"]))
            elif source["gap"] is not None and source["gap"] > seen["begin"] - seen["window"] + 1:
                missing.append("%s %s: read only from %s on, there was too much to read" % (host, name, at_words(source["gap"] - shift)))
            elif source["note"]:
                missing.append("%s %s: %s" % (host, name, source["note"]))
            if source["left_out"]:
                missing.append("%s %s: %d more lines that may speak of a trigger were left out" % (host, name, source["left_out"]))
            for line in source["found"]:
                strength, words = line["strength"], line["words"]
                if strength == TRIP and source["component"] in BREAKERS and _only_breaker(words):
                    strength = LIMIT
                if line["first"] is None and strength in (TRIP, LIMIT):
                    missing.append("%s %s: it speaks of a trigger at no known time" % (host, name))
                    strength = DOUBT
                at = None if line["first"] is None else line["first"] - shift
                names = (source["strategy"], source["component"], line["count"], words)
                found.append(_evidence(at, doubts[host], strength, line["cause"], line["rule"], "log", host, name, *names))
    return found, missing


def _only_breaker(words: str) -> bool:
    small = words.lower()
    return "breaker" in small and not any(word in small for word in ("kill", "trading", "halt", "emergency"))


def _evidence(at, doubt, strength, cause, rule, record, host, where, strategy, component, count, words, **more) -> Evidence:
    return {
        "at": at,
        "doubt": doubt,
        "strength": strength,
        "cause": cause,
        "rule": rule,
        "record": record,
        "host": host,
        "where": where,
        "strategy": strategy,
        "component": component,
        "count": count,
        "words": words,
        **more,
    }


def of_adapters(results: dict[str, list[dict[str, Any]]], strategy: str, patterns: TriggerPatterns) -> tuple[list[Evidence], list[str], list[str]]:
    """Evidence from the adapters' answers to C(liveness): facts that speak of a trigger.

    Args:
        results: {host: entries of the module adapter's C(adapters), for all acts}. patterns: classify the facts' words.

    Returns:
        (evidence, what is missing, components that say that they are paused or stopped).
    """
    found: list[Evidence] = []
    missing: list[str] = []
    halted: list[str] = []
    for host, rows in results.items():
        for one in rows:
            if strategy and one.get("strategy") and one["strategy"] != strategy:
                continue
            name = clean(one.get("component", "?"), 40)
            if one.get("outcome") == "refused":  # its container does not run: it can say nothing, and its log is read anyway
                continue
            if one.get("outcome") not in ("ok", "already", "unsupported"):
                missing.append("%s %s: its adapter's %s is %s: %s" % (host, name, one.get("act"), one.get("outcome"), clean(one.get("why", ""), 100)))
                continue
            if one.get("act") != "liveness":
                continue
            if one.get("state") in ("paused", "stopped"):
                halted.append("%s %s says that it is %s" % (host, name, one["state"]))
            for fact in one.get("data") or []:
                words = clean("%s: %s" % (fact.get("fact", ""), fact.get("words", "")), 240) if isinstance(fact, dict) else ""
                said = patterns.classify(words)
                if said is None:
                    continue
                # An adapter says how it is now, so what it says needs no time of its own.
                found.append(_evidence(None, 0.0, said[0], said[1], said[2], "adapter", host, name, clean(one.get("strategy", ""), 64), "", 1, mask(words)))
    return found, missing, halted


def stopped(hosts: dict[str, Any], strategy: str = "") -> list[str]:
    """Strategies' containers that do not run, in words."""
    found = []
    for host, seen in hosts.items():
        for one in [] if isinstance(seen, str) else seen["containers"]:
            if one["component"] == "strategy" and (not one["running"] or one["status"] == "paused") and (not strategy or one["strategy"] == strategy):
                found.append("%s %s is %s" % (host, clean(one["name"], 40), one["status"]))
    return found


def rises(hosts: dict[str, Any], strategy: str = "") -> list[dict[str, Any]]:
    """Where the rate of errors rose, the earliest first: {at, doubt, host, where, before, after}."""
    found = []
    doubts = clock_doubt(hosts)
    for host, seen in hosts.items():
        for one in [] if isinstance(seen, str) else seen["sources"]:
            change = one["change"]
            if change["score"] < RISING or change["at"] is None or (strategy and one["strategy"] and one["strategy"] != strategy):
                continue
            at = change["at"] - shift_of(seen.get("clock"))
            found.append({"at": at, "doubt": doubts[host], "host": host, "where": source_name(one), "before": change["before"], "after": change["after"]})
    return sorted(found, key=lambda one: one["at"])


# Judging


def episode(trips: list[Evidence], lifts: list[dict[str, Any]]) -> tuple[list[Evidence], dict[str, Any] | None]:
    """The trips of the last time that it fired, and who lifted it since (None: nobody, as far as this bastion's journals know)."""
    borders = sorted((one for one in lifts), key=lambda one: one["at"])
    lifted = None
    for border in reversed(borders):
        after = [one for one in trips if one["at"] is None or one["at"] > border["at"]]
        if after:
            return after, lifted
        lifted = border
    return trips, lifted


def judge(found: list[Evidence], missing: list[str], still: list[str], lifts: list[dict[str, Any]], start: float) -> dict[str, Any]:
    """Names the cause, or says why none can be named.

    Args:
        found: all evidence. missing: what was not read. still: what stands still (containers, adapters), in words.
        lifts: what people lifted. start: where the window begins, Unix time.

    Returns:
        dict: cause ("drawdown", "error_rate", "manual", "none": it did not trigger, "unknown"), certain (nothing unread could make it
        another one), why (one line), first (the evidence that came first, or None), records (kinds of record that agree), lifted.
    """
    trips, lifted = episode([one for one in found if one["strength"] == TRIP], lifts)
    answer: dict[str, Any] = {"cause": "unknown", "certain": False, "why": "", "first": None, "records": [], "lifted": lifted}
    dated = sorted((one for one in trips if one["at"] is not None), key=lambda one: one["at"])
    now = [one for one in trips if one["at"] is None]
    if not trips:
        return _no_trip(answer, found, missing, still)
    if not dated:
        causes = {one["cause"] for one in now if one["cause"]}
        answer["first"] = now[0]
        if len(causes) != 1:
            answer["why"] = "it is triggered now, and " + ("no record says why" if not causes else "two causes are named, without times")
            return answer
        return _named(answer, causes.pop(), "it is so now; since when is not recorded", found, missing)
    first = dated[0]
    answer["first"] = first
    rivals = [one for one in dated[1:] if one["at"] - first["at"] <= _apart(one, first)]
    causes = {one["cause"] for one in [first, *rivals] if one["cause"]}
    if len(causes) > 1:
        answer["why"] = "%s were recorded at the same time, as far as the clocks can say" % " and ".join(WORDS[c] for c in CAUSES if c in causes)
        return answer
    how = ""
    if not first["cause"] and causes:
        how = "by what was recorded with it"
    elif not first["cause"]:
        causes, how = _linked(first, found)
    if len(causes) != 1:
        answer["why"] = "it fired at %s, and %s" % (at_words(first["at"]), "no record says why" if not causes else "two limits were crossed before it")
        return answer
    cause = causes.pop()
    if first["at"] < start:
        answer["cause"] = cause
        answer["why"] = "it is from before what was read: what came before it was not seen"
        answer["records"] = _records(cause, first, found)
        return answer
    other = {one["cause"] for one in now if one["cause"] and one["cause"] != cause}
    if other and first["record"] != "adapter":
        how = (how + "; " if how else "") + "an adapter names %s as well, without a time" % " and ".join(WORDS[c] for c in sorted(other))
        missing = [*missing, "when that was"]
    return _named(answer, cause, how, found, missing)


def _apart(one: Evidence, other: Evidence) -> float:
    """Seconds within which two records may have come in either order. One log is in order; two logs of a host share its clock."""
    if one["host"] and one["host"] == other["host"] and one["record"] == other["record"] == "log":
        return 0.0
    return one["doubt"] + other["doubt"]


def _same_place(one: Evidence, other: Evidence) -> bool:
    return (one["host"], one["where"]) == (other["host"], other["where"]) or bool(one["strategy"] and one["strategy"] == other["strategy"])


def _linked(first: Evidence, found: list[Evidence]) -> tuple[set[str], str]:
    """The causes that the same place names beside a switch which fired without one, and how they are linked."""
    near = [
        one
        for one in found
        if one["cause"]
        and one["at"] is not None
        and one["strength"] in (TRIP, LIMIT)
        and _same_place(one, first)
        and -LINK <= one["at"] - first["at"] <= (TOGETHER if one["record"] == "log" else 0.0)
    ]
    if not near:
        return set(), ""
    last = max(near, key=lambda one: one["at"])
    gap = first["at"] - last["at"]
    return {one["cause"] for one in near}, "it names none itself; %s %s it" % (
        "%s limit crossed" % WORDS[last["cause"]] if last["strength"] == LIMIT else WORDS[last["cause"]] + " named",
        "%s before" % duration(gap) if gap >= 0 else "%s after" % duration(-gap),
    )


def _records(cause: str, first: Evidence, found: list[Evidence]) -> list[str]:
    kinds = set()
    for one in found:
        near = one["at"] is None or first["at"] is None or -LINK <= one["at"] - first["at"] <= AGREE
        if one["cause"] == cause and near and one["strength"] in (TRIP, LIMIT):
            kinds.add(one["record"])
    return sorted(kinds)


def _named(answer: dict[str, Any], cause: str, how: str, found: list[Evidence], missing: list[str]) -> dict[str, Any]:
    answer["cause"], answer["certain"] = cause, not missing
    answer["records"] = _records(cause, answer["first"], found)
    agree = "%s agree" % " and ".join(answer["records"]) if len(answer["records"]) > 1 else "one kind of record says so (%s)" % ", ".join(answer["records"])
    answer["why"] = agree + (", %s" % how if how else "")
    if missing:
        answer["why"] += "; what was not read may have come first"
    return answer


def _no_trip(answer: dict[str, Any], found: list[Evidence], missing: list[str], still: list[str]) -> dict[str, Any]:
    limits = [one for one in found if one["strength"] == LIMIT]
    doubts = [one for one in found if one["strength"] == DOUBT]
    if limits:
        answer["first"] = min(limits, key=lambda one: one["at"] or 0.0)
        answer["why"] = "a %s limit was crossed; no record says that the switch fired" % WORDS.get(answer["first"]["cause"], "")
        answer["why"] = " ".join(answer["why"].split())
    elif doubts:
        answer["why"] = "a line may speak of a trigger, or of a rule or a test: read it"
    elif still:
        answer["why"] = "%s, and no record says why" % still[0] + (" (and %d more)" % (len(still) - 1) if len(still) > 1 else "")
    elif missing:
        answer["why"] = "no trigger in what was read; not everything was"
    else:
        answer.update(cause="none", certain=True, why="no switch fired, no limit was crossed, every strategy runs")
    return answer


# For and against


def signs(
    answer: dict[str, Any], found: list[Evidence], hosts: dict[str, Any], books: list[dict[str, Any]], strategy: str, logs: int
) -> dict[str, dict[str, list[str]]]:
    """For each cause the records that name it, and what else speaks for and against it, in words.

    Signs (errors that rose, money that was lost) decide nothing: the judge looks at records only.
    """
    first_at = answer["first"]["at"] if answer["first"] else None
    result: dict[str, dict[str, list[str]]] = {cause: {"records": [], "for": [], "against": []} for cause in CAUSES}
    for one in found:
        if one["cause"] and one["strength"] in (TRIP, LIMIT) and (first_at is None or one["at"] is None or one["at"] <= first_at + AGREE):
            result[one["cause"]]["records"].append(line_of(one))
    looked = [seen for seen in hosts.values() if not isinstance(seen, str) and not seen["latch_error"]]
    for cause in CAUSES:
        if not result[cause]["records"]:
            silent = "no latch on %d/%s, no stop in the journal" % (len(looked), plural(len(hosts), "host"))
            if cause == "manual":
                result[cause]["against"].append(silent)
            elif logs:
                result[cause]["against"].append("no line of %s says so" % plural(logs, "log"))
    before = [one for one in rises(hosts, strategy) if first_at is None or one["at"] - one["doubt"] <= first_at]
    if before:
        one = before[0]
        words = "errors rose %s -> %s/min at %s (%s %s)" % (short(one["before"]), short(one["after"]), at_words(one["at"]), one["host"], one["where"])
        result["error_rate"]["for"].append(words)
    elif logs:
        result["error_rate"]["against"].append("errors did not rise" + (" before it" if first_at else ""))
    for book in books:
        values = list(book["sum"].values())
        if values and (all(value < 0 for value in values) or all(value >= 0 for value in values)):
            side = "for" if values[0] < 0 else "against"
            result["drawdown"][side].append("%s: %s realized" % (book["name"], money(book["sum"])))
    return result


def line_of(one: Evidence) -> str:
    """A piece of evidence in one line: when, how strong, where, what."""
    times = " (%d times)" % one["count"] if one["count"] > 1 else ""
    words = telling_of(one)
    when = utc(one["at"])[11:19] if one["at"] is not None else "now" if one["record"] == "adapter" else "no time"
    return "%s %-7s %-7s %s: %s%s" % (when.ljust(8), one["strength"].upper(), one["record"], place_of(one), words, times)


def telling_of(one: Evidence) -> str:
    """Its words; of a program's the part that tells, of a person's all."""
    words = clean(one["words"], 240)
    return telling(words) if one["record"] in ("log", "adapter") else words


def place_of(one: Evidence) -> str:
    return clean(one["where"] if one["record"] in ("journal", "note", "alarm") else "%s %s" % (one["host"], one["where"]), 30)


# Trades


def books(venues: list[dict[str, Any]], adapters: dict[str, list[dict[str, Any]]], hosts: dict[str, Any], strategy: str, since: float) -> list[dict[str, Any]]:
    """The recent trades, one book per venue and per adapter. One trade may be in two books, so they are never added up.

    Args:
        venues: rows of venue_trades. adapters: {host: entries of the module adapter}. hosts: for which strategy trades where.
        strategy: leave out the others' books. since: Unix time.

    Returns:
        list of {name, strategy, verdict, why, rows (oldest first), sum ({currency: realized P&L}), unpriced, fall, note}.
    """
    found = []
    users = users_of(hosts, adapters)
    for row in venues:
        who = users.get(row["name"], set())
        if strategy and who and strategy not in who:
            continue
        others = sorted(who - {strategy}) if strategy else []
        note = "shared with %s: theirs are in it" % ", ".join(others) if others else ""
        if strategy and not who:
            note = "who trades there is not known: the others' may be in it"
        rows = [
            {
                "at": one["at"],
                "strategy": next(iter(who)) if len(who) == 1 else "",
                "side": one["side"],
                "amount": one["amount"],
                "symbol": one["symbol"],
                "price": one["price"],
                "pnl": one["pnl"],
                "currency": one["currency"],
                "words": one["client_id"],
            }
            for one in row["trades"]
        ]
        found.append(book("venue %s" % row["name"], rows, row["verdict"], row["why"], note, fees=fees(row["trades"])))
    for host, answers in adapters.items():
        for one in answers:
            if one.get("act") != "trades" or (strategy and one.get("strategy") and one["strategy"] != strategy):
                continue
            good = one.get("outcome") in ("ok", "already")
            if one.get("outcome") == "unsupported":
                continue
            rows = [closed(trade, one) for trade in one.get("data") or [] if isinstance(trade, dict)]
            rows = [trade for trade in rows if trade["at"] is None or trade["at"] >= since]
            name = "adapter %s %s" % (host, clean(one.get("component", "?"), 40))
            found.append(book(name, rows, "OK" if good else "UNKNOWN", "" if good else clean(one.get("why", ""), 100), ""))
    return found


def closed(trade: dict[str, Any], entry: dict[str, Any]) -> dict[str, Any]:
    """An adapter's trade in the form of a book."""
    from .state import parse_utc
    from .venue_trades import number

    at = trade.get("closed_at")
    at = number(at) if not isinstance(at, str) or number(at) is not None else parse_utc(at.replace(" ", "T", 1))
    if at is not None and at > 1e11:  # milliseconds
        at /= 1000.0
    symbol = clean(trade.get("symbol", ""), 60)
    return {
        "at": at,
        "strategy": clean(entry.get("strategy", ""), 64),
        "side": clean(trade.get("side", ""), 10),
        "amount": number(trade.get("qty")),
        "symbol": symbol,
        "price": None,
        "pnl": number(trade.get("pnl")),
        # ccxt's unified symbols end in what they are settled or quoted in.
        "currency": symbol.rpartition(":")[2].rpartition("/")[2] if "/" in symbol else "",
        "words": clean(trade.get("reason", ""), 60),
    }


def users_of(hosts: dict[str, Any], adapters: dict[str, list[dict[str, Any]]]) -> dict[str, set[str]]:
    """{venue: the strategies that trade there}, from labels, the inventory and the adapters."""
    found: dict[str, set[str]] = {}
    pairs = [(one["venue"], one["strategy"]) for seen in hosts.values() if not isinstance(seen, str) for one in seen["containers"]]
    pairs += [(one.get("venue"), one.get("strategy")) for rows in adapters.values() for one in rows]
    for venue, strategy in pairs:
        if venue and strategy:
            found.setdefault(str(venue), set()).add(str(strategy))
    return found


def fees(trades: list[dict[str, Any]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for one in trades:
        if one["fee"]:
            total[one["fee"]["currency"]] = total.get(one["fee"]["currency"], 0.0) + one["fee"]["cost"]
    return total


def book(name: str, rows: list[dict[str, Any]], verdict: str, why: str, note: str, fees: dict[str, float] | None = None) -> dict[str, Any]:
    rows = sorted(rows, key=lambda one: one["at"] or 0.0)
    total: dict[str, float] = {}
    course: dict[str, tuple[float, float, float]] = {}  # currency: (sum so far, its peak, the deepest fall from a peak)
    for one in rows:
        if one["pnl"] is None:
            continue
        now, peak, fall = course.get(one["currency"], (0.0, 0.0, 0.0))
        now += one["pnl"]
        peak = max(peak, now)
        course[one["currency"]] = (now, peak, max(fall, peak - now))
        total[one["currency"]] = now
    return {
        "name": name,
        "verdict": verdict,
        "why": why,
        "note": note,
        "rows": rows,
        "sum": total,
        "fall": {currency: values[2] for currency, values in course.items()},
        "fees": fees or {},
        "unpriced": len([one for one in rows if one["pnl"] is None]),
    }


def money(values: dict[str, float], sign: bool = True) -> str:
    form = "%+.2f %s" if sign else "%.2f %s"
    return ", ".join((form % (value, currency)).strip() for currency, value in sorted(values.items())) or "none"


def book_line(one: dict[str, Any]) -> str:
    """A book in one line: how many, realized, deepest fall, fees, what is not known."""
    if one["verdict"] != "OK" and not one["rows"]:
        return marked("UNKNOWN", "trades of %s: %s" % (one["name"], one["why"]))
    words = "%s: %s" % (one["name"], plural(len(one["rows"]), "trade"))
    if one["verdict"] != "OK":
        words = "UNKNOWN if that is all (%s): %s" % (one["why"], words)
    if one["sum"]:
        words += ", P&L %s, deepest fall %s" % (money(one["sum"]), money(one["fall"], sign=False))
    if one["fees"]:
        words += ", fees %s" % money(one["fees"], sign=False)
    if one["unpriced"]:
        words += ", %d without a P&L" % one["unpriced"]
    return marked("TRADES", words + (" (%s)" % one["note"] if one["note"] else ""))


def trade_lines(found: list[dict[str, Any]], count: int) -> list[str]:
    """The last trades over all books, the newest last."""
    rows = sorted(((one["at"] or 0.0, entry["name"], one) for entry in found for one in entry["rows"]), key=lambda row: row[:2])[-count:]
    lines = []
    for _, name, one in rows:
        pnl = "P&L ?" if one["pnl"] is None else ("P&L %+.2f %s" % (one["pnl"], one["currency"])).strip()
        price = " at %s" % short(one["price"]) if one["price"] is not None else ""
        amount = short(one["amount"])
        who = one["strategy"] or name
        words = "%s %s %s %s %s%s  %s  %s" % (at_words(one["at"]), pad(who, 14), pad(one["side"], 5), amount, one["symbol"], price, pnl, one["words"])
        lines.append("  " + "".join(c for c in words if c.isprintable())[:78].rstrip())
    return lines


# The report


def steps(answer: dict[str, Any], halted: bool, missing: list[str], since: str) -> list[str]:
    """The next safe commands; each says what it will NOT do."""
    lines = []
    since = clean(since, 30).replace(" ", "T")
    if answer["cause"] != "none" and not halted:
        lines.append("andon stop   (stops all trading, cancels orders; will NOT close positions)")
    if answer["cause"] == "none":
        lines.append("andon why --since 6h   (looks further back; will NOT change anything)")
    elif missing or answer["cause"] == "unknown":
        lines.append("andon logs --since %s   (collects the logs; will NOT stop or change anything)" % since)
    if answer["cause"] in ("error_rate", "unknown"):
        lines.append("andon triage --since %s   (what broke first; will NOT change anything)" % since)
    if answer["cause"] in ("drawdown", "manual"):
        lines.append("andon venues   (orders, positions; will NOT cancel or close anything)")
    if halted and answer["certain"]:
        lines.append("andon resume --check   (shows the plan; will NOT start anything)")
    return lines[:3]


def headline(answer: dict[str, Any], window: float, read_words: str) -> str:
    cause, first = answer["cause"], answer["first"]
    if cause == "none":
        return "NOT TRIGGERED in the last %s (%s)" % (duration(window), read_words)
    if cause == "unknown":
        return "UNKNOWN: %s" % answer["why"]
    place = first["where"] if first["record"] == "journal" else "%s %s" % (first["host"], first["where"])
    if cause == "manual" and first.get("actor"):
        place = "by %s" % first["actor"]
    when = " at %s" % utc(first["at"])[:19].replace("T", " ") if first["at"] is not None else ""
    return "%s%s%s, %s" % ("" if answer["certain"] else "PERHAPS ", NAMES[cause], when, clean(place, 40))


def report(
    hosts: dict[str, Any],
    adapters: dict[str, list[dict[str, Any]]],
    recorded: tuple[list[Evidence], list[dict[str, Any]], list[str]],
    venues: list[dict[str, Any]] | None,
    *,
    now: float,
    window: float,
    since: str,
    strategy: str = "",
    limited: str = "",
    patterns: TriggerPatterns | None = None,
) -> dict[str, Any]:
    """The verb's report.

    Args:
        hosts: {host: what read_triggers returned, or a str that says why there is nothing}.
        adapters: {host: entries of the module adapter (liveness, positions, trades)}; {} where there are none.
        recorded: evidence, lifts and gaps of this bastion's journals and alarms (recorded.py).
        venues: rows of venue_trades; None: no venue is configured.
        now: Unix time on the bastion. window: seconds. since: what the person typed. strategy: only this one. limited: --limit.

    Returns:
        dict andon.report/1. C(ok): a cause was found that nothing unread could change, or it is proven that none triggered.
    """
    start = now - window
    found, missing = of_hosts(hosts, strategy)
    said, adapters_missing, paused = of_adapters(adapters, strategy, patterns or TriggerPatterns())
    missing += adapters_missing + recorded[2]
    if limited:
        missing.append("only the hosts of --limit %s were looked at" % clean(limited, 36))
    found = found + said + recorded[0]
    still = stopped(hosts, strategy) + paused
    answer = judge(found, missing, still, recorded[1], start)
    looked = [seen for seen in hosts.values() if not isinstance(seen, str)]
    logs = sum(len(seen["sources"]) for seen in looked)
    read_words = "%d/%s, %s" % (len(looked), plural(len(hosts), "host"), plural(logs, "log"))
    talked = {(host, one.get("component")) for host, rows in adapters.items() for one in rows}
    if talked:
        read_words += ", %s" % plural(len(talked), "adapter")
    ledger = books(venues or [], adapters, hosts, strategy, start)
    about = signs(answer, found, hosts, ledger, strategy, logs)
    halted = bool([one for one in found if one["record"] == "latch"]) or bool(still)
    summary = _summary(answer, found, missing, about, ledger, venues, still, start, now, read_words, strategy)
    data = {
        "cause": answer["cause"],
        "certain": answer["certain"],
        "why": answer["why"],
        "first": answer["first"],
        "records": answer["records"],
        "lifted": answer["lifted"],
        "window": {"start": utc(start), "end": utc(now)},
        "strategy": strategy,
        "evidence": sorted(found, key=lambda one: one["at"] or now),
        "signs": about,
        "standing_still": still,
        "unknown": missing,
        "books": ledger,
        "positions": [one for rows in adapters.values() for one in rows if one.get("act") == "positions"],
    }
    ok = answer["certain"] and answer["cause"] != "unknown" and bool(hosts)
    return make("what_triggered", ok, headline(answer, window, read_words), summary, (), data, steps(answer, halted, missing, since))


def _summary(answer, found, missing, about, ledger, venues, still, start, now, read_words, strategy) -> list[str]:
    lines = ["%s to %s UTC: %s, journal" % (utc(start)[:19].replace("T", " "), utc(now)[11:19], read_words)]
    if strategy:
        lines.append("Only strategy %s, and what is everybody's." % clean(strategy, 40))
    if answer["cause"] not in ("unknown", "none"):
        lines.append(marked("SURE?", answer["why"]))
    elif len(answer["why"]) > 70:  # the headline ends before it does
        lines.append(marked("WHY?", answer["why"]))
    if answer["lifted"]:
        lines.append(marked("LIFTED", "%s by %s (andon resume)" % (at_words(answer["lifted"]["at"]), answer["lifted"]["who"])))
    lines += [marked("UNKNOWN", one) for one in missing[:3]]
    if len(missing) > 3:
        lines.append("         and %d more (andon --json why)" % (len(missing) - 3))
    lines += axis(found, answer["first"])
    for cause in CAUSES:
        own = answer["cause"] in (cause, "unknown")
        if about[cause]["for"] and own:
            lines.append(marked("FOR", "%s: %s" % (WORDS[cause], "; ".join(about[cause]["for"]))))
        if about[cause]["against"] and (not own or not about[cause]["records"]):
            lines.append(marked("AGAINST", "%s: %s" % (WORDS[cause], "; ".join(about[cause]["against"]))))
    if still:
        lines.append(marked("STILL", still[0] + (" (and %d more)" % (len(still) - 1) if len(still) > 1 else "")))
    sums = [book_line(one) for one in ledger[:3]]
    if venues is None:
        sums.append(marked("TRADES", "of no venue: there is no andon_venues in the inventory"))
    room = max(20 - len(lines) - len(sums), 0)
    return (lines + sums + trade_lines(ledger, min(room, 5)))[:20]


def axis(found: list[Evidence], first: Evidence | None, count: int = 5) -> list[str]:
    """What happened, on one time axis: what came first, what led to it, what followed; mentions only where nothing else is."""
    strong = [one for one in found if one["strength"] in (TRIP, LIMIT)]
    chosen = strong or [one for one in found if one["strength"] == DOUBT] or [one for one in found if one["record"] in ("note", "alarm")]
    if strong:
        chosen = chosen + [one for one in found if one["record"] in ("note", "alarm")]
    chosen = sorted(chosen, key=lambda one: (one["at"] is None, one["at"] or 0.0))
    if len(chosen) > count and first in chosen:
        index = chosen.index(first)
        begin = max(0, min(index - 1, len(chosen) - count))
        chosen = chosen[begin : begin + count]
    lines = []
    for one in chosen[:count]:
        line = line_of(one)
        if one is first and len(line) > 80:  # what decides is shown to its end, on lines of its own
            words = telling_of(one)
            lines.append(clean_keep(line[: line.index(words)].rstrip(": ")))
            lines += textwrap.wrap(words, 80, initial_indent=" " * 9, subsequent_indent=" " * 9, max_lines=3, placeholder=" …")
        else:
            lines.append(clean_keep(line))
    return lines


def clean_keep(line: str, width: int = 80) -> str:
    """A line that keeps its columns; its parts are clean already."""
    return line if len(line) <= width else line[: width - 1] + "…"
