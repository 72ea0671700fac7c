"""The gates of a resume: positions, skew, credentials, clock. Pure: what was seen comes in, a verdict per gate goes out.

A gate is PASSED, FAILED, UNKNOWN (which counts as failed) or NOT APPLICABLE. A person gets past one only by its name.
"""

from __future__ import annotations

import json

from .skew import compare
from .state import parse_utc, state_dir
from .text import clean, duration, nearest, plural

GATES = ("positions", "skew", "credentials", "clock")
PASSED, FAILED, UNKNOWN, NOT_APPLICABLE = "PASSED", "FAILED", "UNKNOWN", "NOT APPLICABLE"
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


def latest_reconciliation(folder=None):
    """The newest reconciliation in Andon's state, in few words.

    Args:
        folder: where they are; the bastion's state without it.

    Returns:
        dict at (UTC text), count (rows), bad (rows that do not match, in words); a text that says why it cannot be used; None: there is none.
    """
    folder = folder or state_dir() / "reconciliations"
    try:
        found = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime)
        document = json.loads(found[-1].read_text(encoding="utf-8")) if found else None
    except (OSError, ValueError) as error:
        return "the last reconciliation cannot be read (%s)" % clean(error, 120)
    if document is None:
        return None
    rows = document.get("rows") if isinstance(document, dict) else None
    good = isinstance(rows, list) and isinstance(document.get("at"), str)
    if not good or not all(isinstance(r, dict) and isinstance(r.get("verdict"), str) for r in rows):
        return "the last reconciliation has not the form of one"
    bad = ["%s %s %s" % (r["verdict"], clean(r.get("venue") or "", 30), clean(r.get("symbol") or "", 40)) for r in rows if r["verdict"] != MATCH]
    return {"at": document["at"], "count": len(rows), "bad": bad, "id": found[-1].stem}


def positions_gate(snapshot, age_limit, halted_at, now, applies):
    """Do the books and the venues agree, by a reconciliation from after the stop?

    Args:
        snapshot: C(reconciled)'s form, a text that says why there is none, or None for no reconciliation.
        age_limit: seconds. halted_at: Unix time of the latest latch, or None. now: Unix time.
        applies: venues and adapters are configured: without both nothing can be compared.
    """
    if not applies:
        return gate("positions", NOT_APPLICABLE, "positions are compared where venues and adapters are configured")
    if snapshot is None:
        return gate("positions", UNKNOWN, "no reconciliation. Next: andon positions")
    if not isinstance(snapshot, dict):
        return gate("positions", UNKNOWN, "%s. Next: andon positions" % snapshot)
    at = parse_utc(snapshot["at"])
    if at is None or at > now + 60:
        return gate("positions", UNKNOWN, "the reconciliation's time %s cannot be. Next: andon positions" % clean(snapshot["at"], 40))
    if halted_at is not None and at < halted_at:
        return gate("positions", FAILED, "the last reconciliation is from before the stop. Next: andon positions")
    if now - at > age_limit:
        return gate("positions", FAILED, "the last reconciliation is %s old, %s allowed. Next: andon positions" % (duration(now - at), duration(age_limit)))
    if snapshot["bad"]:
        return gate("positions", FAILED, "; ".join(snapshot["bad"]))
    return gate("positions", PASSED, "%s match, %s ago" % (plural(snapshot["count"], "position"), duration(max(now - at, 0))))


def refusals(gates):
    """Why nothing may be started: every gate that failed or is unknown and that nobody accepted by its name."""
    return ["gate %s %s: %s" % (one["gate"], one["state"], one["words"]) for one in gates if one["state"] in (FAILED, UNKNOWN) and not one["accepted"]]


def settle(gates, accepted):
    """Marks the gates that a person accepts although they did not pass."""
    return [dict(one, accepted=one["state"] in (FAILED, UNKNOWN) and one["gate"] in accepted) for one in gates]


def lines(gates):
    """One line per gate."""
    return ["gate %-12s %s  %s" % (one["gate"], one["state"] + (", ACCEPTED by name" if one["accepted"] else ""), one["words"]) for one in gates]
