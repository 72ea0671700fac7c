"""The venues' verdict and their rows in words. Pure, and light: a stop's verdict imports it."""

from __future__ import annotations

from .text import clean, plural

CANCELLED = "CANCELLED"
NOT_CANCELLED = "NOT CANCELLED"
WOULD_CANCEL = "WOULD CANCEL"
UNKNOWN = "UNKNOWN"
REFUSED = "REFUSED"
OK = "OK"
BAD = "NOT OK"
NO_POSITIONS = "the venue has no positions"


def orders(rows: list[dict], check: bool = False) -> dict:
    """The venues' part of a proof: {"verdict", "ok", "line", "venues"}."""
    word = WOULD_CANCEL if check else CANCELLED
    done = [r for r in rows if r["verdict"] == word]
    parts = ["ORDERS %d/%s %s" % (len(done), plural(len(rows), "venue"), word)]
    bad: dict[str, list[dict]] = {}
    for row in rows:
        if row["verdict"] != word:
            bad.setdefault(row["verdict"], []).append(row)
    for verdict, some in sorted(bad.items()):
        parts.append("%d %s (%s)" % (len(some), verdict, "; ".join("%s: %s" % (r["name"], r["why"]) for r in some)))
    good = bool(rows) and not bad
    return {"verdict": word if good else UNKNOWN if UNKNOWN in bad else NOT_CANCELLED, "ok": good, "line": clean(", ".join(parts), 400), "venues": rows}


def one_line(row: dict, more: tuple = ()) -> str:
    """A venue in one line of a summary, what matters most first: it is cut at the screen's edge. more: words after why."""
    words = ([row["why"]] if row["why"] else []) + list(more)
    if row["unprotected"]:
        words.append("WITHOUT STOP: %s" % ", ".join(row["unprotected"]))
    if row["verdict"] in (CANCELLED, NOT_CANCELLED):
        words.append("%s gone" % plural(len(row["gone"]), "order"))
    if row["verdict"] in (WOULD_CANCEL, OK):
        words.append("%s open" % plural(len(row["remaining"] or []), "order"))
    if row["kept"]:
        words.append("%s kept" % plural(len(row["kept"]), "stop"))
    if row["foreign"]:
        words.append("%s not touched" % plural(row["foreign"], "foreign order"))
    if row["positions"] is None:
        words.append("positions UNKNOWN" if row["positions_why"] != NO_POSITIONS else "no positions there")
    else:
        words.append(plural(len(row["positions"]), "position"))
    return "%-12s %-13s %s" % (clean(row["name"], 12), row["verdict"], clean(", ".join(words), 300))


def detail(rows: list[dict]) -> list[str]:
    """Orders, positions and attempts, one line each."""
    lines = []
    for row in rows:
        name = clean(row["name"], 14)
        lines.append(
            "%-14s looked at: %s%s" % (name, clean(", ".join(row["looked_at"]) or "-", 120), ", prefix %s" % clean(row["prefix"], 30) if row["prefix"] else "")
        )
        for title, some in (("OPEN", row["remaining"] or []), ("kept", row["kept"])):
            for o in some[:50]:
                words = (title, o["side"], o["remaining"] or o["amount"], o["symbol"], "at %s" % o["price"] if o["price"] else "", o["client_id"] or o["id"])
                lines.append("%-14s %s%s" % (name, clean(" ".join(str(w) for w in words if w), 140), " trigger %s" % o["trigger"] if o["trigger"] else ""))
        for p in row["positions"] or []:
            words = "position %s %g %s entry %s, P&L %s, stop: %s" % (
                p["side"],
                p["contracts"],
                p["symbol"],
                p["entryPrice"],
                p["unrealizedPnl"],
                p["protected"],
            )
            lines.append("%-14s %s" % (name, clean(words, 160)))
        if row["positions"] is None and row["positions_why"]:
            lines.append("%-14s positions: %s" % (name, clean(row["positions_why"], 200)))
        for a in row["attempts"]:
            if a["outcome"] not in ("answered", "gone"):
                lines.append("%-14s %s: %s, %s" % (name, clean(a["what"], 60), a["outcome"], clean(a["words"], 160)))
    return lines
