"""What one look of the watch means, and whom to tell. Pure but for the file of C(Past); used on the bastion."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os

from .report import make
from .slope import analyse, pressure_alarm, seconds_left, sparkline
from .state import state_dir, write_atomic
from .text import clean, duration, plural, size

SCHEMA = "andon.watch/1"
# Looks that are remembered per container: two hours at one in 30 s.
HISTORY = 240
SHOWN = 17
# A leak is judged from looks that are this many; fewer would call a warm-up one.
LEAST_LOOKS = 12
# A problem that has been away for this many seconds is over.
CALM = 120.0


class Limits:
    """When the watch speaks up (the variables of the role watch).

    Attributes:
        memory_share: firm memory over the limit; host_share: available over total below which a host is short;
        horizon: seconds to exhaustion below which a leak is told; errors: error lines a minute;
        stalled: PSI full avg60 in percent, with C(host_share) twice over available at most; cooldown: seconds.
    """

    def __init__(self, memory_share=0.9, host_share=0.05, horizon=3600.0, errors=30.0, stalled=5.0, cooldown=900.0):
        self.memory_share = float(memory_share)
        self.host_share = float(host_share)
        self.horizon = float(horizon)
        self.errors = float(errors)
        self.stalled = float(stalled)
        self.cooldown = float(cooldown)


class Problem:
    """One thing that is not right.

    Attributes:
        host, container ("" for the host itself), kind, words, level: "alarm" or "note";
        passing: True for what happened, False for what is (only that can be over).
    """

    def __init__(self, host, container, kind, words, level="alarm", passing=False):
        self.host, self.container, self.kind = host, container, kind
        self.words, self.level, self.passing = clean(words, 200), level, passing

    @property
    def key(self):
        return "/".join((self.host, self.container, self.kind))

    def data(self):
        return {"host": self.host, "container": self.container, "kind": self.kind, "level": self.level, "words": self.words}


def remember(before, look, now):
    """What the next look must know of this one's host.

    Args:
        before: what the last call returned for this host, {} at first.
        look: what watch_host returned; now: Unix seconds on the bastion.
    """
    kept = {}
    for one in look["containers"]:
        old = before.get(one["name"], {})
        same = old.get("id") == one["id"] and old.get("started_at") == one["started_at"]
        history = list(old.get("history", [])) if same else []
        if one["memory"].get("held") is not None:
            history.append([round(now, 1), one["memory"]["held"]])
        kept[one["name"]] = {
            "id": one["id"],
            "started_at": one["started_at"],
            "restarts": one["restarts"],
            "running": one["running"],
            "up": one["running"] or bool(old.get("up")),
            "kills": one["memory"].get("kills"),
            "history": history[-HISTORY:],
        }
    return kept


def container_problems(host, one, old, window, halted, limits):
    """The problems of one container.

    Args:
        one: its part of the look; old: C(remember)'s for the look before, {} when there was none.
        window: seconds of logs; halted: a latch covers it.
    """
    found = []

    def add(kind, words, **kw):
        found.append(Problem(host, one["name"], kind, words, **kw))

    memory = one["memory"]
    same = old.get("id") == one["id"]
    if one["status"] == "restarting":
        add("restarting", "it starts again and again (exit code %s, %d restarts)" % (one["exit_code"], one["restarts"]))
    elif not one["running"] and not halted and (old.get("up") or one["exit_code"]):
        # One that ended well and was never seen running may be a job that is done.
        add("down", "it does not run (exit code %s)" % one["exit_code"])
    elif same and one["running"] and old.get("running") and one["started_at"] != old.get("started_at"):
        add("restarted", "it was started again since the last look", passing=True)
    if one["health"] == "unhealthy":
        add("unhealthy", "its health check fails")
    if memory.get("error"):
        add("unknown", "its memory is not known: %s" % memory["error"])
    if memory.get("limit") and memory.get("firm") is not None and memory["firm"] >= limits.memory_share * memory["limit"]:
        add("memory", "%s of its limit of %s cannot be dropped" % (size(memory["firm"]), size(memory["limit"])))
    run = same and one["started_at"] == old.get("started_at")
    if run and memory.get("kills") and old.get("kills") is not None and memory["kills"] > old["kills"]:
        add("killed", "%s killed for memory since the last look; it lives on" % plural(memory["kills"] - old["kills"], "process"), passing=True)
    if one["errors"] and one["errors"]["count"] * 60.0 / window >= limits.errors:
        more = " or more" if one["errors"]["full"] else ""
        add("errors", "%d error lines%s in %s" % (one["errors"]["count"], more, duration(window)))
    return found


def leak_problem(host, one, history, available, limits):
    """A leak over the looks so far that ends within the horizon, or None."""
    if len(history) < LEAST_LOOKS:
        return None
    trend = analyse(history)
    if not trend.leaking:
        return None
    memory = one["memory"]
    rooms = [("the host is exhausted", available)]
    if memory.get("limit"):
        rooms.append(("its limit is reached", memory["limit"] - memory["firm"]))
    words, left = min(((words, seconds_left(room, trend)["seconds"]) for words, room in rooms), key=lambda pair: pair[1])
    if left > limits.horizon:
        return None
    text = "it leaks %s/h: %s in about %s (%d looks)" % (size(trend.slope * 3600), words, duration(left), trend.count)
    return Problem(host, one["name"], "leak", text)


def host_problems(host, look, limits):
    found = []
    memory = look["memory"]
    share = memory["available"] / memory["total"] if memory["total"] else None
    full = (memory["pressure"].get("full") or {}).get("avg60")
    if share is not None and share <= limits.host_share:
        found.append(Problem(host, "", "memory", "only %s of its memory is available" % size(memory["available"])))
    if pressure_alarm(full, share, limits.stalled, 2 * limits.host_share):
        found.append(Problem(host, "", "pressure", "all its tasks stood still %.0f %% of the last minute for want of memory" % full))
    for latch in look["latches"]:
        found.append(Problem(host, "", "latch " + latch["scope"], latch["words"], level="note"))
    if look["latch_error"]:
        found.append(Problem(host, "", "latch", look["latch_error"]))
    return found


def judge(looks, unknown, before, now, limits):
    """All problems of one look, and what the next one must know.

    Args:
        looks: {host: what watch_host returned}; unknown: {host: why there is no look}.
        before: {host: C(remember)'s}; now: Unix seconds on the bastion.

    Returns:
        (list of Problem, {host: C(remember)'s}); a host without a look keeps what was known.
    """
    problems = [Problem(host, "", "unknown", "UNKNOWN: %s" % why) for host, why in sorted(unknown.items())]
    after = dict(before)
    for host, look in sorted(looks.items()):
        known = before.get(host, {})
        after[host] = remember(known, look, now)
        problems += host_problems(host, look, limits)
        halted = {identity for latch in look["latches"] for identity in latch["containers"]}
        for one in look["containers"]:
            problems += container_problems(host, one, known.get(one["name"], {}), look["window"], one["id"] in halted, limits)
            leak = leak_problem(host, one, after[host][one["name"]]["history"], look["memory"]["available"], limits)
            problems += [leak] if leak else []
        names = {one["name"] for one in look["containers"]}
        for name, old in sorted(known.items()):
            if name not in names and old.get("running"):
                problems.append(Problem(host, name, "gone", "it is no more, or no longer covered", passing=True))
    return problems, after


def due(problems, told, opened, seen, now, cooldown):
    """Which events to send now.

    A problem is told at once, and again after the cooldown while it lasts. It is over when it has been away for C(CALM)
    seconds (or the cooldown, if that is shorter), so that one which comes and goes is not told at each look; when it was over
    and comes back it is a new one.

    Args:
        problems: of this look.
        told: {key: Unix seconds} of what was told before; opened: {key: event} of what was told and is not over. In opened it is
            noted since when a problem is away.
        seen: hosts that this look has seen. What is open on another host stays open: nobody knows.
        now, cooldown: seconds.

    Returns:
        list of (key, event); an event with "over": True says that something is over.
    """
    events = []
    present = {problem.key for problem in problems}
    for problem in problems:
        if problem.key in opened:
            opened[problem.key].pop("away", None)
        if now - told.get(problem.key, float("-inf")) >= cooldown:
            events.append((problem.key, dict(problem.data(), over=False, passing=problem.passing)))
    for key, event in sorted(opened.items()):
        # Of a host that was UNKNOWN and is not any more, only that is over.
        if key in present or event["host"] not in seen:
            continue
        if now - event.setdefault("away", now) >= min(CALM, cooldown):
            over = dict(event, over=True, level="note", words="over: " + event["words"])
            over.pop("away")
            events.append((key, over))
    return events


class Past:
    """The watch's memory between looks: one file, locked while a look is judged, so that two watches tell once."""

    def __init__(self):
        self.path = state_dir() / "watch.json"
        self.data = {"schema": SCHEMA, "hosts": {}, "told": {}, "open": {}}

    def load(self):
        """Reads the file; one that is not there or not understood begins anew (only deltas and cooldowns are lost)."""
        with contextlib.suppress(OSError, ValueError):
            data = json.loads(self.path.read_text(encoding="utf-8"))
            if isinstance(data, dict) and data.get("schema") == SCHEMA:
                self.data.update(data)
        return self

    def save(self, now, cooldown):
        """Raises OSError: the disk is full or read-only."""
        oldest = now - max(cooldown, 86400)
        self.data["told"] = {key: at for key, at in self.data["told"].items() if at >= oldest}
        write_atomic(self.path, self.data)

    @contextlib.contextmanager
    def locked(self):
        """Raises OSError: the lock cannot be made."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(str(self.path) + ".lock", os.O_RDWR | os.O_CREAT, 0o640)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield self
        finally:
            os.close(handle)


def tell(problems, past, seen, now, limits, notify):
    """Sends what is due and notes it; what could not be sent is due again at the next look.

    Args:
        past: Past, loaded; notify: notifier.notify.

    Returns:
        (list of events that were sent, list of words about those that were not).
    """
    sent, failed = [], []
    told, opened = past.data["told"], past.data["open"]
    for key, event in due(problems, told, opened, seen, now, limits.cooldown):
        try:
            notify(dict(event, verb="watch"))
        except OSError as error:
            failed.append("nobody was told of %s: %s" % (key, error))
            continue
        sent.append(event)
        if event["over"]:
            opened.pop(key, None)
            told.pop(key, None)
        else:
            told[key] = now
            if not event["passing"]:
                opened[key] = event
    return sent, failed


TABLE = "%-12s %-18s %-11s %18s %4s %5s %s"
HEAD = TABLE % ("HOST", "CONTAINER", "STATE", "HELD / LIMIT", "RST", "ERR/m", "COURSE")


def rows(looks, after, problems):
    """One dict per container, the ones with problems first: host, name, state, held, limit, restarts, errors, course, bad."""
    bad = {(problem.host, problem.container) for problem in problems if problem.level == "alarm"}
    result = []
    for host, look in sorted(looks.items()):
        halted = {identity for latch in look["latches"] for identity in latch["containers"]}
        for one in look["containers"]:
            state = one["health"] if one["running"] and one["health"] else one["status"]
            result.append(
                {
                    "host": host,
                    "name": one["name"],
                    "state": "HALTED" if one["id"] in halted and not one["running"] else state,
                    "held": one["memory"].get("held"),
                    "limit": one["memory"].get("limit"),
                    "restarts": one["restarts"],
                    "errors": one["errors"]["count"] * 60.0 / look["window"] if one["errors"] else None,
                    "course": sparkline([held for _, held in after[host][one["name"]]["history"]], 6),
                    "bad": (host, one["name"]) in bad,
                }
            )
    return sorted(result, key=lambda row: (not row["bad"], row["host"], row["name"]))


def row_text(row):
    held = "-" if row["held"] is None else size(row["held"])
    memory = held + (" / " + size(row["limit"]) if row["limit"] else "")
    errors = "-" if row["errors"] is None else "%.0f" % row["errors"]
    return (TABLE % (clean(row["host"], 12), clean(row["name"], 18), clean(row["state"], 11), memory, row["restarts"], errors, row["course"])).rstrip()


def report(looks, unknown, problems, after, sent, failed):
    """The report of one look (andon.report/1)."""
    table = rows(looks, after, problems)
    alarms = [problem for problem in problems if problem.level == "alarm"]
    headline = "%d/%d hosts seen, %s, %s" % (len(looks), len(looks) + len(unknown), plural(len(table), "container"), plural(len(alarms), "alarm"))
    if unknown:
        headline += ", %d UNKNOWN" % len(unknown)
    summary = [HEAD] + [row_text(row) for row in table[:SHOWN]]
    if len(table) > SHOWN:
        summary.append("and %d more without an alarm" % (len(table) - SHOWN))
    detail = ["%s %s: %s" % ("ALARM" if p.level == "alarm" else "NOTE", clean(" ".join(filter(None, (p.host, p.container))), 60), p.words) for p in problems]
    detail += ["WARNING " + clean(line, 200) for line in failed]
    data = {
        "rows": table,
        "problems": [problem.data() for problem in problems],
        "told": sent,
        "not_told": failed,
        "unknown": dict(unknown),
        "hosts": {host: look["memory"] for host, look in looks.items()},
    }
    ok = bool(looks) and not unknown and not alarms and not failed
    kinds = {problem.kind for problem in alarms}
    then = ["andon leaks"] if kinds & {"leak", "memory", "pressure", "killed"} else []
    return make("watch", ok, headline, summary, detail, data, then)
