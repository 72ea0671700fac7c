#!/usr/bin/python
# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Says how far the components of a venue get on the way to it, each from inside its own network namespace."""

from __future__ import annotations

DOCUMENTATION = r"""
module: venue_reach
short_description: The way to a venue from the components on a host
version_added: "0.1.0"
description:
  - For every component that belongs to a venue, DNS, TCP, TLS and one public call, one after the other, from inside its own network
    namespace, with its own hosts file and resolv.conf; and the same from the host itself, which tells a broken container from a broken host.
  - The venue's clock (the answer's Date) against this host's, and how many open connections of the component lead to the venue.
  - It makes no private call and knows no key. Certificates are checked against this host's list, not the container's.
options:
  container_cli:
    description: The container CLI.
    type: str
    default: docker
  selectors:
    description: Engine filters that say which containers are components (a union).
    type: list
    elements: str
    default: [label=andon.component]
  components:
    description: "Containers without labels: dictionaries with name, component and venue."
    type: list
    elements: dict
    default: []
  venues:
    description:
      - "The venues' public calls: dictionaries with name, url, exact (false: only the host is known, any answer below 500 is good)
        and streams (HOST:PORT of further addresses that a component's connections may lead to)."
    type: list
    elements: dict
    default: []
  deadline:
    description: Seconds for one component.
    type: float
    default: 5.0
  only:
    description: The container to watch, by name. Empty for all of the venues.
    type: str
    default: ""
  wait:
    description:
      - Seconds to watch, until O(only) runs, its way is open in every layer and one of its connections leads to the venue.
      - Without it one look is taken.
    type: float
    default: 0
  host_root:
    description: Where the host's C(/proc) is; another folder only where modules run in a container beside the engine.
    type: path
    default: /
attributes:
  check_mode:
    support: full
    description: It only reads. The venue sees a connection and one GET per component.
  diff_mode:
    support: none
    description: There is nothing to change.
author: [The Andon maintainers (@andon)]
"""

EXAMPLES = r"""
- name: How far do this venue's components get
  venue_reach:
    venues: [{name: main, url: "https://api.exchange.example/v5/market/time", exact: true}]
  register: reached
"""

RETURN = r"""
begin:
  description: The host's clock when it began and, in C(end), when it ended (Unix times).
  returned: always
  type: float
components:
  description:
    - "name, venue, component, status, health, network (own or host), layers (layer, outcome, words), skew, kind, connections, proxy, why."
    - "With O(wait) also reconnected: true, false, or null when the way is open and no connection was seen."
  returned: always
  type: list
  elements: dict
host:
  description: "The same layers from the host itself, by venue."
  returned: always
  type: dict
"""

import ssl
import time

from ansible.module_utils.andon import netns, venue_way
from ansible.module_utils.andon.engine import VENUE, Engine, EngineError
from ansible.module_utils.andon.text import clean
from ansible.module_utils.basic import AnsibleModule

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
POLL = 0.1  # seconds between two looks at the connections while watching
PAUSE = 2.0  # seconds between two tries of the way at most: each is a request to a venue in trouble


def main():
    module = AnsibleModule(
        argument_spec={
            "container_cli": {"type": "str", "default": "docker"},
            "selectors": {"type": "list", "elements": "str", "default": ["label=andon.component"]},
            "components": {"type": "list", "elements": "dict", "default": []},
            "venues": {"type": "list", "elements": "dict", "default": []},
            "deadline": {"type": "float", "default": 5.0},
            "only": {"type": "str", "default": ""},
            "wait": {"type": "float", "default": 0},
            "host_root": {"type": "path", "default": "/"},
        },
        supports_check_mode=True,
    )
    try:
        result = reach(module.params)
    except (EngineError, OSError) as error:
        words = clean(error, 300)
        module.fail_json(msg=words, andon_progress="UNKNOWN  " + words)
    module.exit_json(changed=False, **result)


def reach(params):
    """The module's result.

    Raises:
        EngineError: the engine does not say what runs here.
    """
    begin = time.time()
    proc = params["host_root"].rstrip("/") + "/proc"
    engine = Engine(params["container_cli"], deadline=6.0)
    venues = {str(one["name"]): one for one in params["venues"]}
    chosen = find(engine, params, venues)
    context = ssl.create_default_context()
    rows, host = look_all(chosen, venues, context, params["deadline"], proc)
    if params["wait"]:
        end = time.monotonic() + params["wait"]
        for row, one in zip(rows, chosen):  # noqa: B905  # Python 3.8
            if params["only"] in ("", one.name):
                watch(engine, row, one, venues, context, params, proc, end)
    return {"begin": begin, "components": rows, "host": host, "end": time.time(), "andon_progress": progress(rows)}


def find(engine, params, venues):
    """The containers on this host that belong to one of the venues."""
    found = engine.components(params["selectors"], params["components"])
    return [one for one in found if one.labels.get(VENUE) in venues]


def blank(one):
    return {
        "name": one.name,
        "venue": one.labels.get(VENUE),
        "component": one.component,
        "status": one.status,
        "health": one.health,
        "network": "",
        "layers": [],
        "skew": None,
        "kind": "",
        "connections": None,
        "proxy": proxied(one),
        "why": "",
    }


def proxied(one):
    """True if the container's environment names a proxy: its programs may take another way than the one that is tried here."""
    names = [str(line).split("=", 1)[0].upper() for line in ((one.raw.get("Config") or {}).get("Env") or []) if str(line).partition("=")[2]]
    return any(name in PROXIES for name in names)


def shared(one, proc):
    """True if others are in this container's network namespace, too: the host, or the container that it joined."""
    mode = str((one.raw.get("HostConfig") or {}).get("NetworkMode") or "")
    return mode.startswith("container:") or netns.same_network(one.pid, proc)


def work_of(venue, deadline, context):
    """What a child does in a namespace."""
    streams = [str(one) for one in venue.get("streams") or []]
    return lambda hosts, conf: venue_way.look(str(venue["url"]), bool(venue.get("exact")), netns.Names(hosts, conf), deadline, context, streams=streams)


def look_all(chosen, venues, context, deadline, proc):
    """One look from every component and from the host, all at once.

    Returns:
        (a row per component, {venue: the host's own look or {"why"}}).
    """
    rows, children = [blank(one) for one in chosen], []
    for one, row in zip(chosen, rows):  # noqa: B905  # Python 3.8
        if one.pid and one.status == "running":
            children.append((one, row, netns.Inside(one.pid, work_of(venues[row["venue"]], deadline, context), proc)))
    wanted = sorted({row["venue"] for row in rows})
    own = [(name, netns.Inside(0, work_of(venues[name], deadline, context), proc)) for name in wanted]
    end = time.monotonic() + deadline + 2
    for one, row, child in children:
        fill(row, one, child, max(end - time.monotonic(), 0.2), proc)
    host = {}
    for name, child in own:
        try:
            host[name] = child.result(max(end - time.monotonic(), 0.2))
        except netns.NamespaceError as error:
            host[name] = {"layers": [], "skew": None, "kind": "", "why": str(error)}
    return rows, host


def fill(row, one, child, deadline, proc):
    """Puts what a child saw into a row; says in C(why) what could not be seen."""
    row["network"] = "host" if netns.same_network(one.pid, proc) else "own"
    try:
        seen = child.result(deadline)
    except netns.NamespaceError as error:
        row.update(layers=[], why=str(error))
        return None
    row.update(layers=seen["layers"], skew=seen["skew"], kind=seen["kind"], why="")
    row["connections"] = venue_way.connections(one.pid, seen, proc, shared(one, proc))
    return seen


def good(row):
    """True if every layer that was to be tried is open."""
    return bool(row["layers"]) and all(one["outcome"] == venue_way.OK for one in row["layers"])


def watch(engine, row, one, venues, context, params, proc, end):
    """Looks again and again until the component is connected, or the time is over."""
    own_ports, pause = [], POLL
    while True:
        found = engine.inspect([one.id])
        now = found[0] if found else None
        row.update(status=now.status if now else "gone", health=now.health if now else "")
        if now is not None and now.pid and now.status == "running":
            child = netns.Inside(now.pid, work_of(venues[row["venue"]], params["deadline"], context), proc)
            seen = fill(row, now, child, params["deadline"] + 2, proc)
            if seen:
                own_ports += seen["own_ports"]
                seen["own_ports"] = own_ports
                if good(row) and now.health in ("", "healthy") and connected(now, seen, row, proc, min(end, time.monotonic() + 2)):
                    row["reconnected"] = True
                    return
        if time.monotonic() >= end:
            row["reconnected"] = None if good(row) and row["status"] == "running" and row["health"] in ("", "healthy") else False
            return
        time.sleep(min(pause, max(end - time.monotonic(), 0)))
        pause = min(2 * pause, PAUSE)


def connected(now, seen, row, proc, end):
    """True as soon as a connection of the component leads to the venue; looks until C(end)."""
    while True:
        row["connections"] = venue_way.connections(now.pid, seen, proc, shared(now, proc), recent=True)
        if row["connections"] or time.monotonic() >= end:
            return bool(row["connections"])
        time.sleep(POLL)


def progress(rows):
    """One line for the operator's screen."""
    if not rows:
        return "OK  no component of this venue is here"
    words = []
    for row in rows:
        bad = [one["layer"] for one in row["layers"] if one["outcome"] == venue_way.BROKEN]
        if row["status"] != "running":
            words.append("FAILED  %s is %s" % (row["name"], row["status"]))
        elif row["why"]:
            words.append("UNKNOWN  %s: %s" % (row["name"], row["why"]))
        elif bad:
            words.append("FAILED  %s: %s" % (row["name"], ", ".join(bad)))
        elif row.get("reconnected") is None and "reconnected" in row:
            words.append("UNKNOWN  %s: the way is open, no connection of its own was seen" % row["name"])
        else:
            words.append("OK  %s: %s" % (row["name"], "connected" if row.get("reconnected") else "the way is open"))
    return clean("; ".join(sorted(words, key=lambda line: line.startswith("OK"))), 300)


if __name__ == "__main__":
    main()
