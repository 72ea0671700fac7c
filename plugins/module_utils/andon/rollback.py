"""The plan of a rollback: to what, in which manner, and why not. Pure; runs on the bastion."""

from __future__ import annotations

from . import skew
from .catalogue import catalogue, change_lines, current
from .text import clean, nearest, plural, size

# How: nothing to do; canary, then batches; or all at once, halted, because the hosts differ or are halted already.
NONE, ROLL, SET = "none", "roll", "set"


def intent(states):
    """What the last rollback on any host wanted, if nothing was recorded since: {to, state, at, hosts} or None.

    It keeps a second run from going one further back, and lets the next run finish one that was interrupted.
    """
    newest = max((r["at"] or "" for s in states.values() for r in s["releases"]), default="")
    marks = {h: s["last"] for h, s in states.items() if s["last"].get("to") and (s["last"].get("at") or "") > newest}
    if not marks:
        return None
    last = max(marks.values(), key=lambda m: m["at"])
    same = {h: m for h, m in marks.items() if m.get("run") == last.get("run")}
    return {"to": last["to"], "at": last["at"], "operator": last.get("operator"), "states": {h: m.get("state") for h, m in same.items()}}


def choose(states, releases):
    """The target when nobody names one.

    Returns:
        (release or None, words why this one or why none).
    """
    wanted = intent(states)
    if wanted:
        one = next((r for r in releases if r["id"] == wanted["to"] and r["good"]), None)
        if one:
            unfinished = [h for h, state in wanted["states"].items() if state == "begun"]
            if unfinished:
                return one, "the rollback to it by %s was interrupted on %s" % (clean(wanted["operator"], 30), ", ".join(sorted(unfinished)))
            return one, "the last rollback went there; for an older one name it: --to"
    here = current(releases)
    for one in releases:
        if one["good"] and not one["current"] and (here is None or one["at"] < here["at"]):
            return one, "the last release that was good on all hosts" + (" before " + here["id"] if here else "")
    if not releases:
        return None, "no release is recorded on any host. Next: put right by hand what runs, then: andon release record"
    return None, "no %srelease was good on all hosts: %s" % (
        "older " if here else "",
        clean("; ".join("%s %s" % (r["id"], r["why"] or "runs already") for r in releases[:3]), 200),
    )


def plan(states, missing, to="", confirm="", check=False, lock=None, allowed=(), ignored=(), disk_reserve=0, not_good=False):
    """The whole plan.

    Args:
        states: {host: state of release_state}. missing: {host: why unknown}.
        to: the release that a person named, or "". confirm: the id that was confirmed. check: nothing will be done.
        lock: {held, refusals} of the role fleet_lock. allowed, ignored: as in skew.compare. disk_reserve: bytes.
        not_good: a person says that a release which was not good may be the target.

    Returns:
        dict: target, why, mode, stop (the cord is pulled first), go (bool), refusals, notes, changes ({host: differences}), lines.
    """
    result = {"target": "", "why": "", "mode": NONE, "stop": False, "go": False, "refusals": [], "notes": [], "changes": {}, "lines": [], "skew": []}
    refuse = result["refusals"].append
    for host, why in sorted(missing.items()):
        refuse("%s is UNKNOWN: %s" % (clean(host, 20), clean(why, 200)))
    for host, why in sorted((lock or {}).get("refusals", {}).items()):
        if host in missing:
            continue
        refuse("%s: %s" % (clean(host, 20), clean(why, 400)))
    if not states:
        return result
    releases = catalogue(states)
    if to:
        target = next((r for r in releases if r["id"] == to), None)
        if target is None:
            near = nearest(to, [r["id"] for r in releases])
            refuse("there is no release '%s'%s" % (clean(to, 60), ". Did you mean: %s?" % ", ".join(near) if near else ""))
        elif not target["whole"]:
            refuse("release %s is not whole: %s" % (clean(to, 60), clean(target["why"], 200)))
            target = None
        elif not target["good"] and not not_good:
            refuse("release %s is not good (%s). If you mean it: -e releases_not_good=true" % (clean(to, 60), clean(target["why"], 160)))
        result["why"] = "named by the operator"
    else:
        target, result["why"] = choose(states, releases)
        if target is None:
            refuse(result["why"])
    if target is None:
        return result
    result["target"] = target["id"]
    per = {h: next(r for r in s["releases"] if r["id"] == target["id"]) for h, s in states.items()}
    preflight(states, per, target, disk_reserve, refuse, result["notes"].append)
    result["changes"] = {h: r["changes"] for h, r in per.items()}
    services = {h: s["services"] for h, s in states.items()}
    result["lines"] = change_lines(result["changes"], services, [r["shown"] for r in per.values()])
    result["skew"] = [d for d in skew.compare(services, allowed, ignored) if not d["allowed"]]
    result["mode"] = manner(states, per, result["skew"])
    result["stop"] = result["mode"] == SET and not all(s["halted"] for s in states.values())
    if result["mode"] != NONE and not check and confirm != target["id"]:
        refuse("not confirmed: confirm must be the release's id, %s%s" % (target["id"], ", not '%s'" % clean(confirm, 60) if confirm else ""))
    result["go"] = not result["refusals"]
    return result


def manner(states, per, differences):
    """NONE when every host is there and fit; SET when hosts differ or any is halted; else ROLL."""
    fit = all(per[h]["matches"] and (s["halted"] or not s["unhealthy"]) for h, s in states.items())
    if fit:
        return NONE
    return SET if differences or any(s["halted"] for s in states.values()) else ROLL


def preflight(states, per, target, reserve, refuse, note):
    """What each host lacks; everything is named, not only the first thing."""
    for host, state in sorted(states.items()):
        name = clean(host, 20)
        if not set(per[host]["projects"]) & set(state["projects"]):
            refuse(
                "%s: release %s is of another project (%s); what runs is %s"
                % (name, target["id"], ", ".join(per[host]["projects"]), ", ".join(sorted(state["projects"])) or "outside Compose")
            )
        if state["outside"]:
            refuse(
                "%s: not in a Compose project, so it cannot be rolled back: %s. Stop it by hand and take its label away, or protect it"
                % (name, clean(", ".join(state["outside"]), 120))
            )
        if not state["compose"]:
            refuse("%s: Docker Compose does not answer" % name)
        for one in per[host]["missing"]:
            if one["pull"]:
                note("%s: %s will be pulled" % (name, clean(one["pull"], 60)))
            else:
                refuse("%s: image %s of %s is gone, and no registry has it (built locally)" % (name, one["image_id"][7:19], target["id"]))
        if state["disk_free"] < reserve:
            refuse("%s: only %s are free on its disk, %s are wanted" % (name, size(state["disk_free"]), size(reserve)))
        if state["last"].get("state") == "begun":
            note(
                "%s: a rollback to %s by %s did not end there (%s)"
                % (name, clean(state["last"].get("to"), 30), clean(state["last"].get("operator"), 20), state["last"].get("at"))
            )
        if state["latch"]:
            note("%s: %s" % (name, clean(state["latch"][0], 66)))


def manner_words(plan_):
    """How, for a person: one line."""
    if plan_["mode"] == NONE:
        return "nothing to do: every host is there"
    if plan_["mode"] == ROLL:
        return "the hosts run the same: a canary first, then batches, each with a health gate"
    if plan_["stop"]:
        return (
            "the hosts DIFFER: ALL TRADING IS STOPPED FIRST, then all go back as one set"
            if plan_["skew"]
            else "some hosts are halted: all are halted first, then go back as one set"
        )
    return "everything is halted: all hosts go back as one set and stay halted"


def counted(states, target):
    """(hosts on the target, lines with the exact state of every host)."""
    on, lines = [], []
    for host, state in sorted(states.items()):
        one = next((r for r in state["releases"] if r["id"] == target), None)
        matches = bool(one and one["matches"])
        if matches:
            on.append(host)
        words = "on %s" % target if matches else ("on %s" % state["current"] if state["current"] else "NOT on a recorded release")
        if state["halted"]:
            words += ", halted"
        elif state["unhealthy"]:
            words += ", NOT HEALTHY: %s" % clean(", ".join(sorted(state["unhealthy"])), 40)
        else:
            words += ", healthy"
        lines.append((host, words))
    return on, lines


def hosts_word(count, total):
    return "%d/%s" % (count, plural(total, "host"))
