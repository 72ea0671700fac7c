"""What one act on trading software comes to, over all hosts: the venue's word where only it can prove, and the report. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import report
from .adapters import CHANGES
from .text import clean, plural

GOOD = ("ok", "already")
NEXT = {
    "halt": ["andon stop   (stops the containers, with proof)", "andon venues"],
    "cancel_orders": ["andon cancel-orders   (at the venue itself)"],
    "flatten": ["andon venues   (what is held there)"],
    "resume": ["andon component liveness", "andon venues"],
}


def ours(row: Mapping[str, Any], things: Any, prefix: bool) -> list[Mapping[str, Any]]:
    """The venue's orders or positions that belong to a component: its symbols (all without any), and its prefix."""
    found = [one for one in things or [] if not row["symbols"] or one["symbol"] in row["symbols"]]
    if prefix and row["prefix"]:
        found = [one for one in found if str(one.get("client_id") or "").startswith(row["prefix"])]
    return found


def proof(row: Mapping[str, Any], first: Mapping[str, Any] | None, second: Mapping[str, Any] | None) -> tuple[bool, str]:
    """Whether the venue proves what a row needs.

    Args:
        row: a row of the module adapter with C(needs). first, second: two looks at its venue (venues.blank has the form), the second
            later; None: there was no look.

    Returns:
        (proven, words). A venue that could not be asked proves nothing.
    """
    if second is None or second["remaining"] is None:
        return False, "the venue gave no list%s" % (": %s" % second["why"] if second and second["why"] else "")
    for need in row["needs"]:
        orders = ours(row, second["remaining"], prefix=True)
        if need.get("include_conditional"):
            orders = orders + ours(row, second["kept"], prefix=True)
        if "open_orders" in need and len(orders) > need["open_orders"]:
            return False, "the venue still has %s" % plural(len(orders), "open order")
        if "positions" in need:
            if second["positions"] is None:
                return False, "the venue gave no positions%s" % (": %s" % second["positions_why"] if second["positions_why"] else "")
            held = ours(row, second["positions"], prefix=False)
            if len(held) > need["positions"]:
                return False, "the venue still holds %s" % ", ".join("%s %s %s" % (p["symbol"], p["side"], p["contracts"]) for p in held)
        if "no_new_orders_for_s" in need:
            if first is None or first["remaining"] is None:
                return False, "the venue gave no first list"
            new = {one["id"] for one in orders} - {one["id"] for one in ours(row, first["remaining"], prefix=True)}
            if new:
                return False, "new at the venue after it: %s" % plural(len(new), "order")
    return True, "the venue shows it"


def pause(rows: list[Mapping[str, Any]]) -> float:
    """Seconds between the two looks; 0 where one is enough."""
    return max([float(need.get("no_new_orders_for_s", 0)) for row in rows for need in row["needs"]] or [0.0])


def good(row: Mapping[str, Any], check: bool) -> bool:
    """Whether this row is a success: a change must be proven, a look must have an answer, and liveness must be good."""
    if row["outcome"] not in GOOD:
        return False
    if row["act"] in CHANGES:
        return check or row["proven"]
    return row["act"] != "liveness" or row["proven"]


def _line(host: str, row: Mapping[str, Any], check: bool) -> str:
    word = row["outcome"].upper()
    if row["act"] in CHANGES and not check:
        word += ", PROVEN" if row["proven"] else ", NOT PROVEN"
    words = row["why"]
    if row["act"] in ("positions", "open_orders", "trades") and row["data"] is not None:
        words = plural(len(row["data"]), row["act"].rstrip("s").replace("_", " "))
    return ("%-12s %-16s %-9s %-15s %s" % (clean(host, 12), clean(row["component"], 16), row["state"] or "-", word, clean(words, 200))).rstrip()


def _detail(host: str, row: Mapping[str, Any]) -> list[str]:
    lines = []
    for step in row["steps"]:
        lines.append("%-12s %-16s %-30s %-8s %s" % (host, clean(row["component"], 16), clean(step["step"], 30), step["outcome"], clean(step["words"], 120)))
    for one in row["data"] or []:
        facts = "  ".join("%s %s" % (key, clean(value, 60)) for key, value in one.items() if value not in (None, ""))
        lines.append("%-12s %-16s %s" % (host, clean(row["component"], 16), clean(facts, 200)))
    return lines


def make(act: str, hosts: Mapping[str, Any], why: Mapping[str, str], target: str, check: bool) -> dict[str, Any]:
    """The `andon_report`.

    Args:
        act: the action. hosts: {host: list of rows, or None}. why: {host: why it has none}. target: a component's name, or all.
    """
    pairs = [(host, row) for host, rows in sorted(hosts.items()) for row in rows or []]
    unknown = sorted(host for host, rows in hosts.items() if rows is None)
    done = [row for _, row in pairs if good(row, check)]
    ok = bool(pairs) and not unknown and len(done) == len(pairs)
    word = "would " if check and act in CHANGES else ""
    head = "%s%s %d/%s OK" % (word, act.replace("_", " "), len(done), plural(len(pairs), "component"))
    if unknown:
        head += ", %s UNKNOWN (%s)" % (plural(len(unknown), "host"), "; ".join("%s: %s" % (host, why[host]) for host in unknown))
    elif not pairs:
        head = "no component %s with an adapter on any host; nothing was sent" % ("" if target == "all" else target)
    pairs.sort(key=lambda pair: good(pair[1], check))
    lines = [_line(host, row, check) for host, row in pairs[:18]]
    below = ["%-12s UNKNOWN %s" % (clean(host, 12), clean(why[host], 200)) for host in unknown]
    for host, row in pairs:
        below += _detail(clean(host, 12), row)
    then = [] if ok else NEXT.get(act, ["andon component liveness", "andon status"])
    if check and act in CHANGES:
        then = ["andon component %s %s" % (act.replace("_", "-"), target)]
    if not pairs and not unknown:
        then = ["give a component an adapter in andon_components (docs/adapters.md)"]
    return report.make("component", ok, head, lines, below, {"act": act, "check": check, "hosts": dict(hosts)}, then)
