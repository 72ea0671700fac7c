"""The reports of `andon venue switch` and `andon venue capabilities`. Pure."""

from __future__ import annotations

from typing import Any

from . import report
from .rolling import folded
from .text import clean, plural
from .venue_words import REFUSED, UNKNOWN

BULK = {"all": "everything in one call", "list": "a list of orders in one call", "none": "one by one"}
GOOD = ("SET", "DISARMED", "WOULD SET")


def make(row: dict[str, Any], warning: str = "") -> dict[str, Any]:
    """The andon_report of one act on one venue's switch. warning: why it could not be remembered, or ""."""
    ok, name, kind = row["verdict"] in GOOD, clean(row["name"], 40), (row["has"] or {}).get("kind", "")
    span = "" if row["timeout"] is None else " %g s" % row["timeout"]
    head = "%s  the dead man's switch of %s%s" % (row["verdict"], name, span)
    lines = ["%s: %s" % (name, row["why"])] if row["why"] else []
    if row["products"]:
        lines.append("for: %s" % clean(", ".join(row["products"]), 200))
    if row["read_back"]:
        lines.append("read back from the venue: %s" % row["read_back"])
    elif row["verdict"] == UNKNOWN:
        lines.append("not proven: only what happens without a refresh would show it")
    if ok and row["act"] != "disarm":
        lines.append("When it acts, ALL orders of the account go, protective stops too.")
    if warning:
        lines.append("WARNING %s" % warning)
    detail = ["%s: %s %s" % (clean(a["what"], 60), a["outcome"], clean(a["words"], 200)) for a in row["attempts"]]
    then = []
    if ok and row["act"] != "disarm" and kind == "countdown":
        then = ["andon venue switch refresh --venue %s   (well before it runs out)" % name, "andon venue switch disarm --venue %s" % name]
    elif row["verdict"] == REFUSED:
        then = ["andon venue capabilities   (what each venue has)"]
    elif row["verdict"] == UNKNOWN:
        then = ["andon venue check --venue %s" % name]
    return report.make("venue_switch", ok, head, [part for line in lines for part in folded(line)], detail, {"switch": row}, then)


def table(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The andon_report of what ccxt can do at exchanges; ``venue_switch.capabilities`` has the form of a row."""
    summary, detail = [], []
    for row in rows:
        switch = row["switch"]
        words = "%s (%s)" % (switch["switch"], switch["kind"]) if switch["kind"] else switch["switch"]
        trigger = "/".join(row["trigger"][kind] for kind in ("spot", "swap"))
        summary.append("%-14s switch %-19s bulk %-4s trigger %s" % (clean(row["exchange"], 14), words, row["bulk"], trigger))
        detail.append("%s: switch: %s%s" % (row["exchange"], switch["words"], ", %s" % switch["method"] if switch["method"] else ""))
        detail.append("%s: cancel in bulk: %s" % (row["exchange"], BULK[row["bulk"]]))
        detail.append("%s: list of conditional orders: %s" % (row["exchange"], ", ".join("%s %s" % pair for pair in sorted(row["trigger"].items()))))
        for said in ("yes", "emulated", "no", "unknown"):
            some = [method for method, value in row["has"].items() if value == said]
            if some:
                detail.append("%s: %s: %s" % (row["exchange"], said, ", ".join(some)))
        detail.append("%s: credentials: %s" % (row["exchange"], ", ".join(row["credentials"]) or "none"))
    head = "OK  what ccxt %s can do at %s" % (rows[0]["ccxt"], plural(len(rows), "exchange"))
    return report.make("venue_capabilities", True, head, summary, detail, {"exchanges": rows}, [])
