"""The plan of a resume: what is started, in which order, and why it must not be. Pure functions, used on both sides."""

from __future__ import annotations

import json
import os

from .state import write_atomic
from .text import clean, plural

SIZES = "sizes.json"

# DESIGN: data -> gateway/adapter -> risk -> strategy. A component of an unknown kind starts with the strategies: last.
TIERS = (("data",), ("gateway", "adapter"), ("risk",), ("strategy",))


def tier_of(component):
    """The place in the start order, 0 first."""
    for number, kinds in enumerate(TIERS):
        if component in kinds:
            return number
    return len(TIERS) - 1


def policy_text(policy):
    """A latch's restart policy as `docker update --restart` takes it."""
    if isinstance(policy, str):
        return policy or "no"
    name = (policy or {}).get("Name") or "no"
    count = int((policy or {}).get("MaximumRetryCount") or 0)
    return "%s:%d" % (name, count) if name == "on-failure" and count else name


def to_start(latch, containers):
    """The containers that this latch stopped and that still exist, in the order of their start.

    Args:
        latch: dict with containers [{id, name, component, strategy, restart_policy, was_running}].
        containers: the host's covered containers now, dicts {id, name, component, strategy, running, ...}.

    Returns:
        (list of tiers, each a list of dicts {id, name, component, image, image_id, policy, start}; names that are gone).
        start: False for one that did not run before the stop: it gets its old policy back, nothing more.
    """
    now = {one["id"]: one for one in containers}
    tiers, gone = [[] for _ in TIERS], []
    for old in latch["containers"]:
        here = now.get(old["id"])
        if here is None:
            if old.get("was_running"):
                gone.append(clean(str(old.get("name", "")).lstrip("/"), 80))
            continue
        # The inventory may have named its kind in the meantime; what the host says now is the better source.
        component = here.get("component") or old.get("component") or ""
        tiers[tier_of(component)].append(
            {
                "id": old["id"],
                "name": here["name"],
                "component": component,
                "image": here.get("image") or "",
                "image_id": here.get("image_id") or "",
                "policy": policy_text(old.get("restart_policy")),
                "start": bool(old.get("was_running")),
            }
        )
    return [sorted(t, key=lambda one: one["name"]) for t in tiers if t], gone


def scope_of(strategy):
    return "strategy-" + strategy if strategy else "all"


def refusals(states, strategy, incident, fleet, confirm):
    """Why nothing may be started, [] if it may.

    Args:
        states: {host: result of host_state, or None when the host gave none}, for the hosts of this run.
        strategy: the id or "". incident: the incident that the operator names, or "".
        fleet: all hosts of the group. confirm: what the operator confirmed: "all", the strategy's id, or (with --limit) too.
    """
    reasons = []
    target = strategy or "all"
    if confirm != target:
        reasons.append("not confirmed: confirm must be '%s' (andon resume asks for it)" % target)
    for host, one in sorted(states.items()):
        if one is None:
            reasons.append("%s is UNKNOWN: nobody can say what is halted there" % host)
    incidents = {}
    for host, one in sorted(states.items()):
        for latch in (one or {}).get("latches", []):
            if latch["scope"] == scope_of(strategy):
                incidents.setdefault(latch["incident"], []).append(host)
            elif latch["scope"] == "all" and strategy:
                reasons.append("%s: %s. Lift that first: andon resume" % (host, clean(latch["words"], 120)))
    if incident:
        for other in sorted(set(incidents) - {incident}):
            reasons.append("the latch on %s belongs to another incident: %s" % (", ".join(incidents[other]), clean(other, 80) or "none"))
    elif len(incidents) > 1:
        reasons.append(
            "the latches belong to different incidents: %s. Name one: -e incident=ID, with --limit to its hosts"
            % "; ".join("%s on %s" % (clean(i, 80) or "none", ", ".join(h)) for i, h in sorted(incidents.items()))
        )
    if not incidents and not reasons:
        reasons.append("nothing is halted%s: no latch on %s" % (" for strategy " + strategy if strategy else "", plural(len(states), "host")))
    return reasons


def merged(latches):
    """Latches of one scope as one (there are two if a stop found the disk full); what was recorded first stays."""
    recorded = {}
    for latch in latches:
        for one in latch["containers"]:
            recorded.setdefault(one.get("id"), one)
    return {"containers": list(recorded.values())}


def host_plan(latches, containers, sizes=None):
    """What a resume does on one host: its part of the plan. The same function makes it on the bastion and on the host.

    Args:
        latches: dicts {scope, at, containers} of the one scope, [] for a host that has none. containers: as in C(to_start).
        sizes: {container name: words on how its size is reduced}, for a resume with a size.

    Returns:
        dict halted_at (list), containers (rows of C(to_start) with their tier, first 1), gone (names).
    """
    tiers, gone = to_start(merged(latches), containers)
    rows = []
    for number, tier in enumerate(tiers, 1):
        for one in tier:
            row = dict(one, tier=number)
            if one["start"] and one["name"] in (sizes or {}):
                row["sized_by"] = sizes[one["name"]]
            rows.append(row)
    return {"halted_at": sorted({str(one["at"]) for one in latches}), "containers": rows, "gone": sorted(gone)}


def host_difference(then, now):
    """What differs between one host's part of a plan (C(host_plan)) and what it is now, in words; [] if nothing does."""
    found = [] if then["halted_at"] == now["halted_at"] else ["it was halted again since"]
    old, new = [{row["id"]: row for row in one["containers"]} for one in (then, now)]
    for ident in sorted(set(old) | set(new)):
        name = clean((new.get(ident) or old[ident])["name"], 60)
        if ident not in new:
            found.append("%s is gone" % name)
        elif ident not in old:
            found.append("%s is not in the plan" % name)
        elif old[ident] != new[ident]:
            keys = sorted(k for k in set(old[ident]) | set(new[ident]) if old[ident].get(k) != new[ident].get(k))
            found.append("%s has another %s" % (name, ", ".join(keys)))
    return found or (["other containers are gone"] if then != now else [])


def plan_lines(hosts, size=None):
    """The plan as lines for the screen, in the order of the start.

    Args:
        hosts: {host: host_plan}. size: the factor, None for full size.
    """
    lines = []
    for host, one in sorted(hosts.items()):
        for c in one["containers"]:
            what = "start, policy %s" % c["policy"] if c["start"] else "policy %s only (it did not run before)" % c["policy"]
            if c.get("sized_by"):
                what += ", size %g (%s)" % (size, clean(c["sized_by"], 40))
            lines.append("%-14s %d %-10s %-24s %s" % (clean(host, 14), c["tier"], clean(c["component"] or "-", 10), clean(c["name"], 24), what))
        for name in one["gone"]:
            lines.append("%-14s   WARNING: %s was removed since the stop; it cannot be started again" % (clean(host, 14), name))
    return lines


def read_sizes(host_state):
    """Sizes that a resume put in place on this host: {container id: {name, size, at, incident}}.

    Raises:
        OSError: the file cannot be read, or is none of ours; it must not be taken for full size.
    """
    try:
        with open(os.path.join(host_state, SIZES), encoding="utf-8") as source:
            found = json.load(source)
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise OSError("%s/%s cannot be read: %s" % (host_state, SIZES, error)) from error
    if not isinstance(found, dict) or not all(isinstance(one, dict) for one in found.values()):
        raise OSError("%s/%s has another form" % (host_state, SIZES))
    return found


def keep_sizes(host_state, rows, size, incident, at):
    """Writes down which containers (rows of a plan) have which size from now on; the full size is no entry.

    Raises:
        OSError: it cannot be written.
    """
    known = read_sizes(host_state)
    for row in rows:
        known.pop(row["id"], None)
        if size < 1:
            known[row["id"]] = {"name": row["name"], "size": size, "at": at, "incident": incident}
    write_atomic(os.path.join(host_state, SIZES), known, 0o600)


def trades(component):
    """True for what takes positions: strategies, and a component of an unknown kind (a gate that does not know fails closed)."""
    return tier_of(component) == len(TIERS) - 1
