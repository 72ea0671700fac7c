"""The releases of a fleet, from what each host says of its own ledger. Pure; runs on the bastion.

A release is I(whole) if every host has it, intact, from the same recording. It is I(good) if besides the last proof of health is
good on every host and its hosts ran the same images. Everything is judged when it is read, so a recording that died halfway is just not whole.
"""

from __future__ import annotations

import hashlib

from .releases import canonical
from .skew import clean_keep, same_images, short
from .text import clean, plural


def state_print(services):
    """A hash over a host's shown services: what was judged must be what is recorded."""
    return hashlib.sha256(canonical(services).encode()).hexdigest()


def catalogue(states):
    """All releases of the fleet, newest first.

    Args:
        states: {host: state of release_state}.

    Returns:
        list of dicts: id, at, operator, reason, hosts ({host: "" or what is wrong there}), whole, good, why (why not good), current
        (runs on every host), running_on (hosts), commits.
    """
    idents = {one["id"] for s in states.values() for one in s["releases"]}
    out = []
    for ident in idents:
        per = {h: next((r for r in s["releases"] if r["id"] == ident), None) for h, s in states.items()}
        first = next(r for r in per.values() if r)
        wrong = {}
        runs = {r["run"] for r in per.values() if r and not r["problem"]}
        for host, r in per.items():
            if r is None:
                wrong[host] = "not recorded"
            elif r["problem"]:
                wrong[host] = "damaged: " + r["problem"]
            elif len(runs) > 1:
                wrong[host] = "of another recording"
        sick = {h: r["why"] for h, r in per.items() if r and not r["problem"] and not r["healthy"]}
        mixed = [name for r in per.values() if r for name in r.get("allowed") or () if name.split(":")[1:2] == ["image"]]
        why = ""
        if wrong:
            why = "%s: %s" % sorted(wrong.items())[0]
        elif sick:
            why = "%s: %s" % sorted(sick.items())[0]
        elif mixed:
            why = "its hosts ran different images (%s)" % mixed[0]
        running = sorted(h for h, r in per.items() if r and r["matches"])
        out.append(
            {
                "id": ident,
                "at": max((r["at"] or "") for r in per.values() if r),
                "operator": first.get("operator"),
                "reason": first.get("reason"),
                "commits": first.get("commits"),
                "hosts": {h: wrong.get(h) or sick.get(h, "") for h in per},
                "whole": not wrong,
                "good": not why,
                "why": why,
                "running_on": running,
                "current": len(running) == len(states),
            }
        )
    return sorted(out, key=lambda r: (r["at"], r["id"]), reverse=True)


def current(releases):
    """The newest release that runs on every host, or None."""
    return next((r for r in releases if r["current"] and r["whole"]), None)


def change_lines(per, states, more=()):
    """Lines for the differences of each host; hosts with the same ones are shown once.

    Args:
        per: {host: list from releases.differences, over shown services}.
        states, more: sets of services that say which image ids are one image ({host: services}, and further ones).
    """
    stands = same_images(dict(states, **{"%d" % n: one for n, one in enumerate(more)}))
    groups = {}
    for host, changes in sorted(per.items()):
        changes = [
            dict(one, old=stands.get(one["old"], one["old"]), new=stands.get(one["new"], one["new"])) if one["kind"] == "image" else one for one in changes
        ]
        groups.setdefault(canonical(changes), (changes, []))[1].append(host)
    out = []
    for changes, hosts in sorted(groups.values(), key=lambda pair: -len(pair[1])):
        if len(groups) > 1 or not changes:
            out.append("%s: %s" % (clean(", ".join(hosts), 60), plural(len(changes), "change") if changes else "no change"))
        out += [change_line(one) for one in changes]
    return out


def change_line(one):
    """One difference, at most 80 characters: what, old -> new."""
    name = "%s/%s %s%s" % (one["project"], one["service"], one["kind"], " " + one["name"] if one["name"] else "")
    old, new = (short(one[side], one["kind"]) if one[side] is not None else "(none)" for side in ("old", "new"))
    if one["kind"] == "service":
        return clean("  %s: %s" % (name, "will be there" if one["new"] else "will be REMOVED"), 80)
    return clean_keep("  %s: %s -> %s" % (clean(name, 46), clean(old, 26), clean(new, 26)), 80)
