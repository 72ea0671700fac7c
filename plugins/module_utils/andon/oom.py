"""Out-of-memory kills from every source, put together.

No single source is enough. The engine's C(OOMKilled) stays false when a child was killed and the main process lives, and
is cleared at the next start; the cgroup's counter dies with the container's run; the engine keeps its last few hundred
events only; the kernel's log is a ring. So all are read, and what agrees within some seconds is one kill.
Standard library only, Python 3.8.
"""

from __future__ import annotations

import json
import os
import re
import time

from .cgroup import digits
from .state import parse_utc, utc

# Sources write the same kill within this time of each other (the engine hears of it through a notification).
SAME = 5.0
# `task_memcg=/docker/<id>,task=python3,pid=17311`; old kernels: "Task in /docker/<id> killed as a result of limit of ...".
_KILL = re.compile(r"oom-kill:constraint=(\w+).*?task_memcg=([^,\s]+),task=(.*?),pid=(\d+)")
_OLD = re.compile(r"Task in (\S+) killed as a result of limit of")
_KILLED = re.compile(r"Killed process (\d+) \((.*?)\).*?anon-rss:(\d+)kB")


def from_events(text):
    """Kills and ends from the engine's events, one JSON object a line.

    Docker writes {Action, Actor: {ID}, timeNano}, Podman {Status, ID, Time}; what is neither is left out.

    Returns:
        list of dict kind ("oom" or "die"), id, name, at (Unix seconds), code (exit code of an end, as text).
    """
    found = []
    for line in text.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if not isinstance(event, dict):
            continue
        actor = event.get("Actor") or {}
        attributes = actor.get("Attributes") or event.get("Attributes") or {}
        kind = event.get("Action") or event.get("status") or event.get("Status") or ""
        at = event.get("timeNano")
        at = at / 1e9 if at else event.get("time") or parse_utc(event.get("Time", ""))
        if kind in ("oom", "die", "died") and at:
            found.append(
                {
                    "kind": "oom" if kind == "oom" else "die",
                    "id": actor.get("ID") or event.get("ID") or event.get("id") or "",
                    "name": attributes.get("name") or event.get("Name") or "",
                    "at": float(at),
                    "code": str(attributes.get("exitCode") or event.get("ContainerExitCode") or ""),
                }
            )
    return found


def from_kernel(lines):
    """Kills from the kernel's log.

    Args:
        lines: (Unix seconds, text), in order.

    Returns:
        list of dict at, group (the killed task's memory group), process, pid (the host's), held (bytes or None),
        host (True: the whole host was short, not only the container).
    """
    found, group = [], ""
    for at, text in lines:
        old = _OLD.search(text)
        if old:
            group = old.group(1)
        kill = _KILL.search(text)
        if kill:
            found.append(_kill(at, kill.group(2), kill.group(3), int(kill.group(4)), kill.group(1) != "CONSTRAINT_MEMCG"))
            continue
        killed = _KILLED.search(text)
        if killed:
            pid = int(killed.group(1))
            if found and found[-1]["pid"] == pid and at - found[-1]["at"] < SAME:
                found[-1]["held"] = int(killed.group(3)) * 1024
            elif group:
                found.append(_kill(at, group, killed.group(2), pid, False, int(killed.group(3)) * 1024))
            group = ""
    return found


def _kill(at, group, process, pid, host, held=None):
    return {"at": at, "group": group, "process": process, "pid": pid, "held": held, "host": host}


def kmsg(raw, booted):
    """Records of /dev/kmsg ("6,339,1069093290,-;text") as (Unix seconds, text).

    Args:
        raw: list of records, bytes.
        booted: Unix time at which the kernel's clock was 0.
    """
    result = []
    for record in raw:
        head, _, text = record.decode("utf-8", "replace").partition(";")
        fields = head.split(",")
        if len(fields) >= 3 and digits(fields[2]):
            result.append((booted + int(fields[2]) / 1e6, text.split("\n")[0]))
    return result


def read_kernel(device="/dev/kmsg", run=None, since=0.0):
    """The kernel's log.

    Args:
        device: the ring itself, which is what dmesg reads.
        run: a function (argv) -> stdout text or None, for journalctl when the ring may not be read.
        since: Unix seconds.

    Returns:
        (lines as C(from_kernel) takes them, None or why there are none).
    """
    try:
        handle = os.open(device, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        text = run(["journalctl", "-k", "-o", "json", "--no-pager", "--since", "@%d" % since]) if run else None
        lines = journal(text or "")
        # A journal without a line of the kernel's is what a host without journald has: that is no proof of anything.
        return lines, None if lines else "the kernel's log cannot be read (%s: %s)" % (device, error.strerror)
    records = []
    try:
        while True:
            try:
                records.append(os.read(handle, 8192))
            except BrokenPipeError:
                continue  # overwritten while it was read: the next one is there
            except BlockingIOError:
                break
            if not records[-1]:
                records.pop()
                break
    finally:
        os.close(handle)
    # The kernel stamps with its monotonic clock; the wall clock may have been set since, so the distance is taken now.
    return [line for line in kmsg(records, time.time() - time.clock_gettime(time.CLOCK_MONOTONIC)) if line[0] >= since], None


def journal(text):
    """journalctl's JSON lines as (Unix seconds, text)."""
    result = []
    for line in text.splitlines():
        try:
            entry = json.loads(line)
            result.append((int(entry["__REALTIME_TIMESTAMP"]) / 1e6, str(entry["MESSAGE"])))
        except (ValueError, KeyError, TypeError):
            continue
    return result


def merge(container, events, kernel, counted):
    """All kills of one container, oldest first.

    Args:
        container: dict id, started_at, finished_at (RFC 3339), running, oom_killed.
        events: of C(from_events), all containers'.
        kernel: of C(from_kernel), all containers'.
        counted: the cgroup's counter since the container's last start, None when it does not run.

    Returns:
        list of dict at (UTC text, None: unknown), process, held, child (True: the main process lived on, None: unknown),
        host, sources (list: events, kernel log, inspect, cgroup), count.
    """
    own = container["id"]
    deaths = [event["at"] for event in events if event["kind"] == "die" and event["id"] == own]
    started, finished = parse_utc(container.get("started_at")), parse_utc(container.get("finished_at"))
    kills = [dict(one, sources=["kernel log"]) for one in kernel if own and own in one["group"]]
    for event in events:
        if event["kind"] == "oom" and event["id"] == own:
            near = [one for one in kills if "events" not in one["sources"] and abs(one["at"] - event["at"]) <= SAME]
            if near:
                min(near, key=lambda one: abs(one["at"] - event["at"]))["sources"].append("events")
            else:
                kills.append(dict(_kill(event["at"], "", None, None, False), sources=["events"]))
    if container.get("oom_killed"):
        when = started if container.get("running") else finished
        near = [one for one in kills if when and not container.get("running") and -SAME <= when - one["at"] <= SAME]
        if near:
            near[-1]["sources"].append("inspect")
            near[-1]["main"] = True
        elif not kills:
            kills.append(dict(_kill(None if container.get("running") else finished, "", None, None, False), sources=["inspect"]))
    for one in kills:
        one["count"] = 1
        one["child"] = None if one["at"] is None else _child(one, deaths, started, finished, container.get("running"))
    if counted:
        here = [one for one in kills if one["at"] is not None and started is not None and one["at"] >= started - SAME]
        for one in here:
            one["sources"].append("cgroup")
        if counted > len(here):
            missing = dict(_kill(None, "", None, None, False), sources=["cgroup"], count=counted - len(here))
            # The counter is of this run, and the run goes on: whatever was killed, it was not the main process.
            missing["child"] = True if container.get("running") else None
            kills.append(missing)
    kills.sort(key=lambda one: one["at"] or 0)
    keys = ("process", "held", "host", "child", "sources", "count")
    return [dict({key: one[key] for key in keys}, at=utc(one["at"]) if one["at"] else None) for one in kills]


def _child(kill, deaths, started, finished, running):
    """True: the container lived on; False: it ended with the kill; None: nobody knows."""
    if kill.get("main") or any(-1.0 <= death - kill["at"] <= SAME for death in deaths):
        return False
    if running and started is not None and kill["at"] >= started:
        return True
    if finished is not None and not running and kill["at"] < finished - SAME and started is not None and kill["at"] >= started:
        return True
    return True if deaths and min(deaths) < kill["at"] < max(deaths) else None
