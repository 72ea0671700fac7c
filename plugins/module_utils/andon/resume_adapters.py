"""The adapters' part of a resume: which components get a size, and what their rows say of it. Pure, on the bastion."""

from __future__ import annotations

from .resume import trades
from .text import clean

GOOD = ("ok", "already")


def refusals(host, rows, adapters, size, recorded):
    """Why one host's containers must not be started, as far as their size is concerned; [] if they may.

    Args:
        rows: the containers of its plan. adapters: {name: resume_sizes' dict}. size: the factor, None for full size.
        recorded: {container id: {size, at}}: sizes that an earlier resume reduced.
    """
    found = []
    for row in [one for one in rows if one["start"]]:
        adapter, name = adapters.get(row["name"]), "%s on %s" % (clean(row["name"], 60), clean(host, 40))
        if adapter and adapter["error"]:
            found.append("%s: its adapter cannot be used: %s" % (name, adapter["error"]))
        elif size is not None and trades(row["component"]):
            if not adapter:
                found.append("%s has no adapter, so it would trade at its full size. Next: give it one (docs/adapters.md), or resume without --size" % name)
            elif adapter["size_error"]:
                found.append("%s: %s" % (name, adapter["size_error"]))
        elif size is None and recorded.get(row["id"]):
            old = recorded[row["id"]]
            words = "%s still has %g of its size (since %s): say which it is to have: --size 1 is its full size"
            found.append(words % (name, float(old.get("size") or 0), clean(old.get("at"), 40)))
    return found


def sizes(rows, adapters, size):
    """{container name: the adapter's kind} of those whose size is put in place, {} for full size."""
    if size is None:
        return {}
    able = {name: one["kind"] for name, one in adapters.items() if not one["error"] and not one["size_error"]}
    return {row["name"]: able[row["name"]] for row in rows if row["start"] and row["name"] in able}


def judge(wanted, rows, *, proof):
    """Why the adapters' answers are not enough, [] if they are.

    Args:
        wanted: names that must have a row. rows: the module adapter's. proof: an answer counts only with its proof.
    """
    by_name = {row["component"]: row for row in rows}
    found = []
    for name in wanted:
        row = by_name.get(name)
        if row is None:
            found.append("%s: no answer of its adapter" % clean(name, 60))
        elif row["outcome"] not in GOOD:
            found.append("%s %s: %s" % (clean(name, 60), row["outcome"].upper(), clean(row["why"], 160)))
        elif proof and not row["proven"]:
            found.append("%s NOT PROVEN: %s" % (clean(name, 60), clean(row["why"] or "nothing showed it", 160)))
    return found


def proof_words(rows):
    """What showed the effect: the steps that looked again and were satisfied."""
    seen = [step for row in rows for step in row["steps"] if step["outcome"] in GOOD and step["step"].startswith(("verify", "wait"))]
    return "; ".join("%s: %s" % (clean(one["step"], 50), clean(one["words"] or "as wanted", 60)) for one in seen)


def told(names, size, prepared, released):
    """One dict per component with a size: component, size, proven, by (what showed it)."""
    found = []
    for name in sorted(names):
        before = [row for row in prepared if row["component"] == name]
        after = [row for row in released if row["component"] == name]
        good = bool(before) and all(row["proven"] for row in before) and not judge([name] if after else [], after, proof=False)
        found.append({"component": name, "size": size, "proven": good, "by": proof_words(before + after)})
    return found
