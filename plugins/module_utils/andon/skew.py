"""Skew: where hosts that should run the same do not. Pure; what hosts say comes in, differences go out.

A difference's name is C(project/service:kind) or C(project/service:kind:name), and a person allows it by that name (``*`` and ``?`` match as in file names).
"""

from __future__ import annotations

import fnmatch

from .releases import flat
from .text import clean

ABSENT = "(absent)"


def same_images(states):
    """{image id: one id that stands for all ids of the same image}.

    A host that pulled an image and a host that loaded it agree on the id; two engines with different stores agree on the
    registry's digest only; an image that was built twice from the same bytes has the same content. Ids that share one of them are one image.
    """
    stands = {}
    by_digest = {}
    for state in states.values():
        for members in state.values():
            for one in members.values():
                ident = one.get("image_id")
                group = {ident}
                for digest in list(one.get("digests", ())) + ([one["content"]] if one.get("content") else []):
                    bare = digest.rpartition("@")[2]
                    if bare in by_digest:
                        group.add(stands[by_digest[bare]])
                    by_digest[bare] = ident
                group.add(stands.get(ident, ident))
                first = min(group, key=str)
                stands[ident] = first
                for other, leader in list(stands.items()):
                    if leader in group:
                        stands[other] = first
    return stands


def compare(states, allowed=(), ignored=("HOSTNAME",)):
    """Differences between hosts.

    Args:
        states: {host: set of services} as C(releases.shown) gives them.
        allowed: names of differences that a person allows.
        ignored: environment variables that are each host's own.

    Returns:
        list of dicts: id, project, service, kind, name, values (list of {value, hosts}, most common first), odd (hosts that are not with
        the most), allowed (bool). Kind "service": the service is not on every host.
    """
    hosts = sorted(states)
    stands = same_images(states)
    values = {host: flat(states[host]) for host in hosts}
    found = []
    members = sorted({(p, s) for host in hosts for p, services in states[host].items() for s in services})
    for project, service in members:
        there = [h for h in hosts if service in states[h].get(project, {})]
        if len(there) < len(hosts):
            found.append(_difference(project, service, "service", "", {h: "there" if h in there else ABSENT for h in hosts}))
        keys = sorted({k for h in there for k in values[h] if k[:2] == (project, service)})
        for key in keys:
            if key[2] == "environment" and key[3] in ignored:
                continue
            seen = {h: values[h].get(key, ABSENT) for h in there}
            if key[2] == "image":
                seen = {h: stands.get(v, v) for h, v in seen.items()}
            if len({str(v) for v in seen.values()}) > 1:
                found.append(_difference(project, service, key[2], key[3], seen))
    for one in found:
        one["allowed"] = any(fnmatch.fnmatchcase(one["id"], pattern) for pattern in allowed)
    return found


def _difference(project, service, kind, name, seen):
    groups = {}
    for host in sorted(seen):
        groups.setdefault(str(seen[host]), []).append(host)
    ranked = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    return {
        "id": "%s/%s:%s%s" % (project, service, kind, ":" + name if name else ""),
        "project": project,
        "service": service,
        "kind": kind,
        "name": name,
        "values": [{"value": value, "hosts": hosts} for value, hosts in ranked],
        # With a tie nobody knows which is right: all of them are odd.
        "odd": sorted(h for _, hosts in ranked[0 if len(ranked) > 1 and len(ranked[0][1]) == len(ranked[1][1]) else 1 :] for h in hosts),
        "allowed": False,
    }


def short(value, kind):
    """A value as a matrix shows it: an image as the first 12 digits of its id."""
    text = clean(value, 60)
    if kind == "image":
        return text.replace("sha256:", "")[:12]
    return text


def lines(differences, width=80):
    """Lines for a person, at most C(width) characters: the difference's name, then each value with its hosts."""
    out = []
    for one in differences:
        out.append(clean("%s %s" % ("allowed  " if one["allowed"] else "DIFFERS  ", one["id"]), width))
        for group in one["values"]:
            out.append(clean_keep("    %-24s %s" % (short(group["value"], one["kind"]), clean(", ".join(group["hosts"]), 200)), width))
    return out


def clean_keep(text, width):
    """Cut to C(width) characters; blanks inside stay, because they make the table."""
    return text if len(text) <= width else text[: width - 1] + "…"


def matrix(states, differences, width=80):
    """Host × service × image × configuration: one line per service and host, ``!`` where that host differs.

    Returns:
        lines.
    """
    odd = {(d["project"], d["service"], h) for d in differences if not d["allowed"] for h in d["odd"]}
    stands = same_images(states)
    out = ["  %-14s %-28s %-13s %s" % ("host", "service", "image", "configuration")]
    for host in sorted(states):
        for project, members in sorted(states[host].items()):
            for service, one in sorted(members.items()):
                mark = "!" if (project, service, host) in odd else " "
                parts = "%d variables, %d files" % (len(one.get("environment", {})), len(one.get("files", {})))
                cells = (
                    mark,
                    clean(host, 14),
                    clean("%s/%s" % (project, service), 28),
                    short(stands.get(one.get("image_id"), one.get("image_id")), "image"),
                    parts,
                )
                out.append(clean_keep("%s %-14s %-28s %-13s %s" % cells, width))
    return out
