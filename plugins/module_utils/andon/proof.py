"""The proof of a stop: one document over all hosts, and the report that a tired person reads.

The document's form is docs/proof.schema.json. Only results count: a host without one is UNKNOWN (DESIGN 4.2).
"""

from __future__ import annotations

from .stop import HALTED, NOT_HERE, NOTHING, REFUSED, UNKNOWN, WOULD
from .text import clean, duration, plural
from .venue_words import detail as venue_detail
from .venue_words import one_line as venue_line

SCHEMA = "andon.proof/1"
WIDTH = 80


def document(*, verb, asked, fleet, results, mode, strategy, incident, operator, reason, pressed_at, finished_at, check, orders=None):
    """The proof as a dict that JSON can hold.

    Args:
        verb: emergency_stop or kill_strategy.
        asked: the hosts of this run. fleet: all hosts of the group trading.
        results: {host: result of the action emergency_stop}; a host of `asked` without one is UNKNOWN.
        mode, strategy, incident, reason: as given. operator: dict (state.actor).
        pressed_at, finished_at: UTC text. check: nothing was changed.
        orders: the venues' part: {"verdict", "ok", "line", "venues": [...]} (venue_stop.py); None: no venue is configured.
            `ok` of the document speaks of the hosts alone; orders["ok"] is false if a venue is not proven, and null if none was to be asked.
    """
    hosts = {}
    for name in asked:
        one = results.get(name) or {}
        hosts[name] = {
            "verdict": one.get("verdict", UNKNOWN),
            "why": clean(one.get("why") or ("" if one else "no result came back from this host"), 400),
            "containers": one.get("containers", []),
            "changed_others": one.get("changed_others", []),
            "latch": one.get("latch"),
            "route": one.get("route"),
            "attempts": one.get("attempts", 0),
            "seconds": one.get("seconds"),
            "steps": one.get("steps", []),
            "adapters": one.get("adapters", []),
            "notes": one.get("notes", []),
        }
    good = (WOULD, NOT_HERE) if check else (HALTED, NOT_HERE)
    proven = [h for h in hosts if hosts[h]["verdict"] in good]
    nowhere = bool(strategy) and bool(hosts) and all(one["verdict"] == NOT_HERE for one in hosts.values())
    disturbed = sorted(h for h in hosts if hosts[h]["changed_others"])
    return {
        "schema": SCHEMA,
        "verb": verb,
        "ok": bool(hosts) and len(proven) == len(hosts) and not nowhere and not disturbed,
        "mode": mode,
        "strategy": strategy or None,
        "check": check,
        "incident": incident,
        "operator": operator,
        "reason": clean(reason, 400),
        "pressed_at": pressed_at,
        "finished_at": finished_at,
        "limited": sorted(set(fleet) - set(asked)),
        "hosts": hosts,
        "proven": len(proven),
        "asked": len(hosts),
        "orders": orders,
        "nowhere": nowhere,
        "disturbed": disturbed,
    }


def adapter_line(proof):
    """What the trading software's own halt said, in one line; empty where there is no adapter. It never changes a verdict."""
    if not any(host.get("adapters") for host in proof["hosts"].values()):
        return ""
    from .adapter_stop import line  # only where there is one

    return line(proof["hosts"], WIDTH)


def orders_line(proof):
    """The venues' verdict in one line; loud while there is no venue."""
    if not proof.get("orders") and proof["check"]:
        return "orders: not part of a check"
    if not proof.get("orders"):
        return "ORDERS NOT CANCELLED: no venue is configured. Cancel them at the venue by hand."
    return clean(proof["orders"].get("line", ""), WIDTH)


def orders_failed(proof):
    """True if a venue was to be asked and is not proven."""
    return bool(proof.get("orders")) and proof["orders"]["ok"] is False


def headline(proof):
    """The denominator: 7/8 HALTED, 1 UNKNOWN (host-d: unreachable)."""
    word = WOULD if proof["check"] else HALTED
    counted = [h for h in proof["hosts"].values() if h["verdict"] != NOT_HERE]
    done = sum(h["verdict"] == word for h in counted)
    parts = ["%d/%d %s" % (done, len(counted), word)]
    bad = {}
    for name, one in proof["hosts"].items():
        if one["verdict"] not in (word, NOT_HERE):
            bad.setdefault(one["verdict"], []).append((name, one["why"]))
    for verdict, pairs in sorted(bad.items()):
        parts.append("%d %s (%s)" % (len(pairs), verdict, "; ".join("%s: %s" % pair for pair in pairs)))
    if orders_failed(proof):
        parts.insert(1, "ORDERS NOT PROVEN")
    if proof["strategy"]:
        parts[0] = "strategy %s %s" % (proof["strategy"], parts[0])
    return ", ".join(parts)


def summary(proof):
    """At most 20 lines of 80 characters: the verdict's table by host, worst first, then orders, limit, latch."""
    lines = []
    width = max([4] + [len(h) for h in proof["hosts"]])
    width = min(width, 24)
    order = sorted(proof["hosts"], key=lambda h: (proof["hosts"][h]["verdict"] in (HALTED, NOT_HERE, WOULD), h))
    shown = order[: 12 if not proof.get("orders") else 9]
    for name in shown:
        one = proof["hosts"][name]
        rows = one["containers"]
        counts = {}
        for row in rows:
            counts[row["how"]] = counts.get(row["how"], 0) + 1
        if proof["check"]:
            words = plural(sum(r["was"] in ("running", "paused", "restarting") for r in rows), "running container")
        elif one["verdict"] == HALTED:
            words = ", ".join("%d %s" % (n, how) for how, n in sorted(counts.items()))
            last = max([r["seconds"] for r in rows if r["seconds"] is not None] or [None], key=lambda s: s or 0)
            words += ", last end after %s" % duration(last) if last is not None else ""
        else:
            words = one["why"]
        lines.append(("%-*s  %-10s  %s" % (width, clean(name, width), one["verdict"], clean(words, 200)))[:WIDTH])
    if len(order) > len(shown):
        lines.append("... and %d more hosts, all listed below" % (len(order) - len(shown)))
    lines.append("")
    own = adapter_line(proof)
    if own:
        lines.append(own)
    lines.append(orders_line(proof)[:WIDTH])
    for row in ((proof.get("orders") or {}).get("venues") or [])[:4]:
        lines.append(venue_line(row)[:WIDTH])
    if proof["limited"]:
        left = ", ".join(proof["limited"])
        lines.append(("LIMITED: %s not asked: %s" % (plural(len(proof["limited"]), "host"), left))[:WIDTH])
    if proof["nowhere"]:
        lines.append("NOT FOUND: no host has a container of this strategy; nothing was touched."[:WIDTH])
    for host in proof["disturbed"]:
        lines.append(("WARNING: others changed on %s: %s" % (host, ", ".join(proof["hosts"][host]["changed_others"])))[:WIDTH])
    volatile = [h for h in proof["hosts"] if proof["hosts"][h]["latch"] == "volatile"]
    if volatile:
        lines.append(("WARNING: latch only in memory (full disk?), lost at a reboot: %s" % ", ".join(volatile))[:WIDTH])
    return lines


def detail(proof):
    """One line per container, then notes; for the terminal after the summary."""
    lines = ["%-14s %-22s %-10s %-10s %-15s %5s  %-9s %s" % ("HOST", "CONTAINER", "KIND", "WAS", "STOPPED", "EXIT", "AFTER", "POLICY")]
    for host, one in sorted(proof["hosts"].items()):
        for row in one["containers"]:
            lines.append(
                "%-14s %-22s %-10s %-10s %-15s %5s  %-9s %s -> %s"
                % (
                    clean(host, 14),
                    clean(row["name"], 22),
                    clean(row["component"] or "-", 10),
                    row["was"],
                    "would stop" if proof["check"] else row["how"],
                    "-" if row["exit_code"] is None else row["exit_code"],
                    "-" if row["seconds"] is None else duration(row["seconds"]),
                    row["policy_before"],
                    "no" if proof["check"] else row["policy_after"] or "?",
                )
            )
        for note in one["notes"]:
            lines.append("%-14s WARNING: %s" % (clean(host, 14), clean(note, 200)))
        for own in one.get("adapters", []):
            lines.append(
                "%-14s adapter %s of %s: %s%s"
                % (clean(host, 14), own["kind"] or "?", own["component"], own["outcome"], clean(": " + own["why"], 160) if own["why"] else "")
            )
        for step in one["steps"]:
            if step["rc"]:
                lines.append("%-14s step %s ended with %s: %s" % (clean(host, 14), step["name"], step["rc"], clean(step["words"], 160)))
    return lines + venue_detail((proof.get("orders") or {}).get("venues") or [])


def next_commands(proof):
    """What is safe to type now."""
    if proof["check"]:
        return ["andon stop" if not proof["strategy"] else "andon kill-strategy %s" % proof["strategy"]]
    if proof["nowhere"]:
        return ["andon status   (shows the strategies' ids)"]
    if any(one["verdict"] == NOTHING for one in proof["hosts"].values()):
        return ["check andon_selectors and the containers' labels on those hosts, then press again"]
    if any(one["verdict"] == REFUSED for one in proof["hosts"].values()):
        again = "ansible-playbook kill_strategy.yml -e strategy=ID -e confirm=ID" if proof["strategy"] else "andon stop --help"
        return ["%s   (nothing was done)" % again]
    if not proof["ok"]:
        again = "andon stop --until-proven" if not proof["strategy"] else "andon kill-strategy %s" % proof["strategy"]
        return ["%s   (pressing again is safe)" % again]
    if orders_failed(proof):
        return ["andon cancel-orders   (the hosts are proven; tries the venues again)", "andon venues"]
    return ["andon status", "andon resume%s   (when it is safe to trade again)" % (" --strategy " + proof["strategy"] if proof["strategy"] else "")]


def report(proof, path=None):
    """The `andon_report` of a stop (the callback shows it; --json prints it)."""
    below = detail(proof)
    if path:
        below.append("proof: %s" % path)
    return {
        "schema": "andon.report/1",
        "verb": proof["verb"],
        "ok": proof["ok"] and not orders_failed(proof),
        "headline": clean(headline(proof), WIDTH),
        "summary": summary(proof),
        "detail": below,
        "data": proof,
        "next": next_commands(proof),
    }
