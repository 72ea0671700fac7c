"""The gates of a resume: positions, skew, credentials, clock. Pure: what was seen comes in, a verdict per gate goes out.

A gate is PASSED, FAILED, UNKNOWN (which counts as failed) or not applicable. A person gets past one only by its name.
"""

from __future__ import annotations

from .skew import compare
from .state import parse_utc
from .text import clean, duration, nearest, plural
from .venue_words import NO_POSITIONS

GATES = ("positions", "skew", "credentials", "clock")
PASSED, FAILED, UNKNOWN, NOT_APPLICABLE = "PASSED", "FAILED", "UNKNOWN", "not applicable"
MATCH = "MATCH"  # the one good verdict of a reconciliation's row


def gate(name, state, words):
    return {"gate": name, "state": state, "words": clean(words, 400), "accepted": False}


def accept_errors(accepted):
    """Why these names of gates cannot be accepted, [] if they can."""
    if not isinstance(accepted, list) or not all(isinstance(one, str) for one in accepted):
        return ["andon_resume_accept must be a list of gates: %s" % ", ".join(GATES)]
    found = []
    for one in accepted:
        if one not in GATES:
            near = nearest(one, GATES)
            found.append("there is no gate '%s'%s (%s)" % (clean(one, 40), "; did you mean %s?" % near[0] if near else "", ", ".join(GATES)))
    return found


def skew_gate(states, missing, allowed, ignored):
    """Do all hosts have the same? Applies where a release is recorded on at least one host.

    Args:
        states: {host: release_state's state}, {} where nothing was looked at because nothing is recorded.
        missing: {host: why it is unknown}. allowed, ignored: as in skew.compare.
    """
    if not states and not missing:
        return gate("skew", NOT_APPLICABLE, "no release is recorded on any host")
    if missing:
        return gate("skew", UNKNOWN, "; ".join("%s: %s" % one for one in sorted(missing.items())))
    if not any(one["services"] for one in states.values()):
        return gate("skew", UNKNOWN, "a release is recorded, and nothing that runs here is of a Compose project: nothing could be compared")
    found = [one for one in compare({h: s["services"] for h, s in states.items()}, allowed, ignored) if not one["allowed"]]
    if found:
        return gate("skew", FAILED, "%s: %s" % (plural(len(found), "difference"), ", ".join("%s (%s)" % (d["id"], ", ".join(d["odd"])) for d in found)))
    return gate("skew", PASSED, "%s, no difference" % plural(len(states), "host"))


def credentials_gate(rows, why=""):
    """Does each venue take the credentials? Only a private read shows it.

    Args:
        rows: the venues' rows (venues.blank), None where no venue is configured. why: the venues could not be asked at all.
    """
    if why:
        return gate("credentials", UNKNOWN, why)
    if rows is None:
        return gate("credentials", NOT_APPLICABLE, "no venue is configured")
    bad, state = [], PASSED
    for row in rows:
        said = (row.get("status") or {}).get("credentials")
        if said == "OK":
            continue
        state = FAILED if said or state == FAILED else UNKNOWN
        bad.append("%s: %s" % (row["name"], said or row.get("why") or "not asked"))
    return gate("credentials", state, "; ".join(bad) or "%s took them" % plural(len(rows), "venue"))


def clock_gate(clocks, rows, bound, applies):
    """Are the hosts' clocks and the venues' within bounds of the bastion's? A signed request with another time is refused by a venue.

    Args:
        clocks: {host: health.clock's dict, or None}. rows: as in C(credentials_gate). bound: seconds.
        applies: there is a venue or an adapter, so something depends on it.
    """
    if not applies:
        return gate("clock", NOT_APPLICABLE, "no venue and no adapter is configured")
    failed, unknown = [], []
    for host, one in sorted(clocks.items()):
        if one is None:
            unknown.append("%s: not measured" % host)
        elif one["low"] > bound or one["high"] < -bound:
            failed.append("%s: %+.2f s" % (host, one["offset"]))
        elif one["low"] < -bound or one["high"] > bound:
            unknown.append("%s: %+.2f s, known to %.2f s only" % (host, one["offset"], one["uncertainty"]))
    for row in rows or []:
        facts = row.get("status") or {}
        if facts.get("skew") is not None:
            if abs(facts["skew"]) > bound:
                failed.append("venue %s: %+.2f s" % (row["name"], facts["skew"]))
        # A venue that has no clock to ask answers the private read, which it refuses when the clock is wrong.
        elif facts.get("credentials") != "OK":
            unknown.append("venue %s: not measured" % row["name"])
    words = "; ".join(failed + unknown) or "all within %g s of the bastion's" % bound
    return gate("clock", FAILED if failed else UNKNOWN if unknown else PASSED, words)


def reconciled(document, venues):
    """What a kept reconciliation says, in the form of C(positions_gate).

    Args:
        document: andon.reconciliation/1. venues: names of the venues that are configured now.

    Returns:
        dict id, at (UTC text), count (rows), bad (what does not match, in words), held ({(venue, symbol, side): contracts});
        a text that says why it cannot be used.
    """
    rows, books = document.get("rows"), document.get("venues")
    if not isinstance(rows, list) or not isinstance(books, dict) or not isinstance(document.get("at"), str):
        return "the last reconciliation has not the form of one"
    bad, held = [], {}
    for row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("verdict"), str):
            return "the last reconciliation has not the form of one"
        where = (str(row.get("venue") or ""), str(row.get("symbol") or ""))
        if row["verdict"] != MATCH:
            bad.append("%s %s %s%s" % (row["verdict"], clean(where[0], 30), clean(where[1], 40), ": " + clean(row["why"], 80) if row.get("why") else ""))
        position = row.get("position")
        if isinstance(position, dict):
            held[(where[0], str(position.get("symbol")), str(position.get("side")))] = _float(position.get("contracts"))
    for name in venues:
        book = books.get(name)
        if not isinstance(book, dict) or not book.get("ok"):
            bad.append("venue %s was not read%s" % (clean(name, 30), ": " + clean(book["why"], 80) if isinstance(book, dict) and book.get("why") else ""))
    return {"id": str(document.get("id") or ""), "at": document["at"], "count": len(rows), "bad": bad, "held": held}


def _float(value):
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def moved(snapshot, rows):
    """(what is held otherwise now than in the reconciliation, what the venues do not say), both in words.

    Nothing of ours changes while it is halted, so equal figures at the venue mean that the reconciliation still holds.
    """
    now, silent = {}, []
    for row in rows or []:
        if row.get("positions") is None:
            if row.get("positions_why") != NO_POSITIONS:
                silent.append("venue %s does not show its positions now" % row["name"])
            continue
        for one in row["positions"]:
            now[(row["name"], str(one.get("symbol")), str(one.get("side")))] = _float(one.get("contracts"))
    asked = {row["name"] for row in rows or []}
    found = []
    for key in sorted(set(now) | {one for one in snapshot["held"] if one[0] in asked}):
        then, here = snapshot["held"].get(key) or 0.0, now.get(key) or 0.0
        if abs(then - here) > 1e-9 * max(1.0, abs(then)) and "venue %s does not show its positions now" % key[0] not in silent:
            found.append("%s %s %s was %g, is %g" % (clean(key[0], 30), clean(key[1], 40), clean(key[2], 10), then, here))
    return found, silent


def positions_gate(snapshot, rows, age_limit, now, applies):
    """Do the books and the venues agree, and still?

    A reconciliation mostly comes from before the stop, since stopped software cannot be asked what it holds. That is why the venues'
    positions now must be those of the reconciliation.

    Args:
        snapshot: C(reconciled)'s dict, a text that says why there is none, or None for no reconciliation.
        rows: the venues' rows now (venues.blank), None if they could not be asked. age_limit: seconds. now: Unix time.
        applies: venues and adapters are configured: without both nothing can be compared.
    """
    then = "Next: andon positions"
    if not applies:
        return gate("positions", NOT_APPLICABLE, "positions are compared where venues and adapters are configured")
    if snapshot is None:
        return gate("positions", UNKNOWN, "no reconciliation. %s" % then)
    if not isinstance(snapshot, dict):
        return gate("positions", UNKNOWN, "%s. %s" % (snapshot, then))
    at = parse_utc(snapshot["at"])
    if at is None or at > now + 60:
        return gate("positions", UNKNOWN, "the reconciliation's time %s cannot be. %s" % (clean(snapshot["at"], 40), then))
    if now - at > age_limit:
        return gate("positions", FAILED, "the last reconciliation is %s old, %s allowed. %s" % (duration(now - at), duration(age_limit), then))
    if snapshot["bad"]:
        return gate("positions", FAILED, "; ".join(snapshot["bad"]))
    if not rows:
        return gate("positions", UNKNOWN, "the venues could not be asked whether it still holds")
    found, silent = moved(snapshot, rows)
    if found:
        return gate("positions", FAILED, "changed since the reconciliation: %s. %s" % ("; ".join(found), then))
    if silent:
        return gate("positions", UNKNOWN, "; ".join(silent))
    words = "%s match, %s ago, and the venues show the same now" % (plural(snapshot["count"], "position"), duration(max(now - at, 0)))
    return gate("positions", PASSED, words)


def refusals(gates):
    """Why nothing may be started: every gate that failed or is unknown and that nobody accepted by its name."""
    return ["gate %s %s: %s" % (one["gate"], one["state"], one["words"]) for one in gates if one["state"] in (FAILED, UNKNOWN) and not one["accepted"]]


def settle(gates, accepted):
    """Marks the gates that a person accepts although they did not pass."""
    return [dict(one, accepted=one["state"] in (FAILED, UNKNOWN) and one["gate"] in accepted) for one in gates]


def lines(gates):
    """One line per gate."""
    return ["gate %-12s %s  %s" % (one["gate"], one["state"] + (", ACCEPTED by name" if one["accepted"] else ""), one["words"]) for one in gates]
