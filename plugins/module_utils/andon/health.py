"""Is a fleet healthy? The judgement on what C(observe) measured, and the screen that says it.

Pure: it reads nothing. Used on the bastion.
"""

from __future__ import annotations

import time

from .curves import point
from .shapes import mask, per_minute
from .state import parse_utc
from .text import clean, duration, plural, size

# Worst first. A host or a component is as bad as its worst finding.
WORDS = ("UNKNOWN", "DEAD", "FAILED", "SKEW", "ERRORS", "WARNING", "HALTED")

# Each is a limit that a healthy host does not pass. roles/eyes/defaults has the same ones with their reasons.
LIMITS = {
    "disk": 90.0,  # per cent
    "memory": 90.0,  # per cent, of a host and of a container's limit
    "load": 4.0,  # per CPU, the five-minute average
    "clock": 0.5,  # seconds
    "errors": 10.0,  # per minute
    "rise": 3.0,  # times the rate before, from one error per minute on
    "restart": 600.0,  # seconds: a container that restarted and has run for less
}


def limits_of(given):
    """C(LIMITS) with the inventory's own on top.

    Raises:
        ValueError: an unknown name, or no number above 0; C(str()) is for a person.
    """
    limits = dict(LIMITS)
    for name, value in (given or {}).items():
        if name not in limits:
            raise ValueError("eyes_limits has no '%s', so nothing was judged. Known: %s" % (clean(name, 40), ", ".join(sorted(limits))))
        try:
            limits[name] = float(value)
        except (TypeError, ValueError):
            limits[name] = -1.0
        if not 0 < limits[name] < float("inf"):
            raise ValueError("eyes_limits.%s must be a number above 0, not '%s'; nothing was judged" % (name, clean(value, 40)))
    return limits


def finding(word, host, component, words):
    return {"word": word, "host": host, "component": component, "words": clean(words, 200)}


def rank(one):
    """The order of findings: worst word first, then by host and component."""
    return (WORDS.index(one["word"]), one["host"], one["component"])


def clock(before, begin, end, after):
    """What four times say of a host's clock.

    The host began after the bastion asked and ended before the bastion had the answer, so its clock is ahead by no more
    than C(begin - before) and by no less than C(end - after). A slow connection makes that wide; it never moves it.

    Args:
        before, after: Unix times on the bastion. begin, end: Unix times on the host.

    Returns:
        dict: low, high (seconds that the host's clock is ahead), offset (their middle), uncertainty (half their distance).
    """
    low, high = end - after, begin - before
    if low > high:  # one of the clocks was set while the host was measured
        low, high = high, low
    return {"low": low, "high": high, "offset": (low + high) / 2, "uncertainty": (high - low) / 2}


def clock_words(one):
    return "%+.2f s (known to %.2f s)" % (one["offset"], one["uncertainty"])


def rates(lines, now, window, before):
    """Errors per minute now and before.

    Args:
        lines: {stamps: Unix times of the errors, first: time of the oldest line read or None, complete: bool}.
        now: the host's time. window, before: seconds of "now", and of what counts as before.

    Returns:
        dict now, before: errors per minute, None where the log read does not reach.
    """
    if lines.get("error") or lines.get("note"):
        return {"now": None, "before": None}
    covered = now - window - before
    if not lines["complete"]:
        covered = max(covered, lines["first"] if lines["first"] is not None else now)
    elif lines.get("since") is not None:
        covered = max(covered, lines["since"])  # a container made five minutes ago has no "before"
    border = now - window
    return {
        # One error in the two seconds since a container was made is one error, not thirty per minute.
        "now": per_minute(lines["stamps"], border, now + 1, min(covered, now - 60) if lines["complete"] else covered),
        "before": per_minute(lines["stamps"], border - before, border, covered),
    }


def label(component):
    """How a component is called in a table: its name."""
    return clean(component.get("name") or component.get("id", "")[:12], 60)


def judge_component(host, one, limits):
    """The findings on one component of one host."""
    name, found = label(one), []

    def say(word, words):
        found.append(finding(word, host, name, words))

    if one.get("halted"):
        say("HALTED", one["halted"])
    elif one["status"] in ("exited", "dead", "created", "removing"):
        gone = "" if one.get("ended_ago") is None else " %s ago" % duration(one["ended_ago"])
        killed = ", killed for memory" if one.get("oom_killed") else ""
        say("DEAD", "%s%s (exit code %s%s)" % (one["status"], gone, one.get("exit_code"), killed))
    elif one["status"] == "paused":
        say("DEAD", "paused: it holds its connections and does nothing")
    elif one["status"] == "restarting":
        say("FAILED", "restarting again and again (%s, exit code %s)" % (plural(one["restarts"], "restart"), one.get("exit_code")))
    elif one["status"] != "running":
        say("UNKNOWN", "the engine calls its state '%s'" % one["status"])
    elif one.get("health") == "unhealthy":
        say("FAILED", "its health check fails")
    elif one.get("health") == "starting":
        say("WARNING", "its health check has not passed yet (started %s ago)" % duration(one.get("age")))
    if one["status"] == "running":
        if one.get("latched"):
            say("FAILED", "runs although a latch covers it")
        if one["restarts"] and one.get("age") is not None and one["age"] < limits["restart"]:
            say("FAILED", "%s, the last %s ago" % (plural(one["restarts"], "restart"), duration(one["age"])))
        if one.get("memory") is not None and one.get("limit"):
            share = 100.0 * one["memory"] / one["limit"]
            if share >= limits["memory"]:
                say("WARNING", "memory %s of %s (%d %%)" % (size(one["memory"]), size(one["limit"]), share))
        if one.get("log_error"):
            say("UNKNOWN", "errors not known: %s" % one["log_error"])
    now, before = one.get("errors_now"), one.get("errors_before")
    if now is not None and (now >= limits["errors"] or (now >= 1 and before is not None and now >= limits["rise"] * before)):
        say("ERRORS", "%s errors per minute (before: %s)%s" % (number(now), number(before), ": " + one["last_error"] if one.get("last_error") else ""))
    return found


def judge_host(host, seen, limits):
    """The findings on one host, from what C(observe) returned (with C(clock) added on the bastion)."""
    found = []

    def say(word, words):
        found.append(finding(word, host, "", words))

    engine = seen["engine"]
    if not engine["ok"]:
        say("UNKNOWN" if engine.get("hung") else "FAILED", "engine: " + engine["error"])
    elif not seen["components"]:
        say("FAILED", "no container matches %s: wrong selectors, or nothing is deployed here" % ", ".join(seen.get("selectors", [])))
    if seen.get("latch_error"):
        say("UNKNOWN", seen["latch_error"])
    for latch in seen.get("latches", []):
        say("HALTED", latch["words"])
    if not seen["disks"]:
        say("UNKNOWN", "no file system could be measured")
    for disk in seen["disks"]:
        if 100 * disk["used"] >= limits["disk"]:
            say("WARNING", "%s is %d %% full, %s free" % (disk["path"], 100 * disk["used"], size(disk["free"])))
        elif disk["inodes_used"] is not None and 100 * disk["inodes_used"] >= limits["disk"]:
            say("WARNING", "%s has %d %% of its inodes in use" % (disk["path"], 100 * disk["inodes_used"]))
        if disk["read_only"]:
            say("WARNING", "%s is read-only" % disk["path"])
    memory = seen["memory"]
    if not memory:
        say("UNKNOWN", "the kernel does not say how much memory there is")
    elif 100.0 * (memory["total"] - memory["available"]) / memory["total"] >= limits["memory"]:
        say("WARNING", "memory: %s of %s left" % (size(memory["available"]), size(memory["total"])))
    if seen["load"]["five"] / seen["load"]["cpus"] >= limits["load"]:
        say("WARNING", "load %.1f on %s" % (seen["load"]["five"], plural(seen["load"]["cpus"], "CPU")))
    time = seen.get("clock")
    if time and (time["low"] > limits["clock"] or time["high"] < -limits["clock"]):
        say("WARNING", "clock %s: %s the bastion's" % (clock_words(time), "ahead of" if time["offset"] > 0 else "behind"))
    for one in seen["components"]:
        found += judge_component(host, one, limits)
    return sorted(found, key=rank)


def skew(hosts):
    """Where one service, or one image name, runs from more than one digest.

    Compared are all containers of one Compose service, of one name, and of one image name, over all hosts. The digest
    that fewer of them have is named; when no digest has the most, nobody knows which is right and all are named.

    Args:
        hosts: {host: what observe returned}.

    Returns:
        list of findings (SKEW), one per container.
    """
    groups = {}
    for host, seen in hosts.items():
        for one in seen["components"]:
            if not one.get("image_id"):
                continue
            keys = [("service", one["project"], one["service"]) if one.get("service") else ("name", "", one["name"])]
            if one.get("image") and "@" not in one["image"]:
                keys.append(("image", "", one["image"]))
            for key in keys:
                groups.setdefault(key, []).append((host, one))
    accused = {}
    for key in sorted(groups):
        members, counts = groups[key], {}
        for _, one in members:
            counts[one["image_id"]] = counts.get(one["image_id"], 0) + 1
        if len(counts) < 2:
            continue
        most = max(counts.values())
        tie = list(counts.values()).count(most) > 1
        for host, one in members:
            count = counts[one["image_id"]]
            if tie or count < most:
                what = "image %s" % one["image"] if key[0] == "image" else "%s %s" % (key[0], key[2])
                words = "%s runs from digest %s here (%d of %d%s)" % (
                    clean(what, 80),
                    digest(one["image_id"]),
                    count,
                    len(members),
                    "; no digest has the most" if tie else "",
                )
                accused.setdefault((host, label(one)), words)
    return [finding("SKEW", host, name, words) for (host, name), words in accused.items()]


def digest(image_id):
    """The first twelve characters of a digest."""
    return clean(str(image_id).replace("sha256:", ""), 64)[:12]


def number(value):
    """An error rate: 0, 0.2, 12, ? when it is not known."""
    if value is None:
        return "?"
    if value == 0:
        return "0"
    return "%.1f" % value if value < 9.95 else "%d" % round(value)


def age(seconds):
    """Seconds in at most four characters: 12s, 3m, 4h, 5d."""
    if seconds is None:
        return "?"
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return "%d%s" % (seconds // length, unit)
    return "%ds" % max(seconds, 0)


def mebi(count):
    """Bytes in at most five characters: 12M, 1.5G."""
    if count is None:
        return "?"
    return "%dM" % (count >> 20) if count < 1000 << 20 else "%.1fG" % (count / (1 << 30))


def cut(words, width):
    """Plain text of at most C(width) characters, padded to it."""
    return clean(words, width).ljust(width)


def state_word(one):
    if one.get("halted"):
        return "halted"
    if one["status"] == "running":
        return one.get("health") or "running"
    if one["status"] in ("exited", "dead"):
        return "%s %s" % (one["status"], one.get("exit_code"))
    return one["status"]


HEAD = "%s %s %s %s %s %s %s %s" % (
    "host".ljust(9),
    "component".ljust(17),
    "state".ljust(10),
    "rst".rjust(3),
    "mem/limit".rjust(10),
    "age".rjust(4),
    "digest".ljust(7),
    "err/min was",
)


def row(host, one, skewed=False):
    """One component in 80 columns."""
    memory = mebi(one.get("memory")) + ("/" + mebi(one["limit"]) if one.get("limit") else "/-")
    text = "%s %s %s %s %s %s %s %5s %5s" % (
        cut(host, 9),
        cut(label(one), 17),
        cut(state_word(one), 10),
        ("%d" % one["restarts"] if one["restarts"] < 1000 else "999").rjust(3),
        (memory if one["status"] == "running" else "-").rjust(10),
        age(one.get("age")).rjust(4) if one["status"] == "running" else "   -",
        (digest(one.get("image_id"))[:6] + ("!" if skewed else " ")).ljust(7),
        number(one.get("errors_now")),
        number(one.get("errors_before")),
    )
    return text[:80]


def host_words(seen):
    """A host in one line, for its progress line and the table."""
    parts = []
    if seen["disks"]:
        worst = max(seen["disks"], key=lambda disk: disk["used"])
        parts.append("disk %d%%" % (100 * worst["used"]))
    if seen["memory"]:
        parts.append("mem %d%%" % (100.0 * (seen["memory"]["total"] - seen["memory"]["available"]) / seen["memory"]["total"]))
    parts.append("load %.1f/%d" % (seen["load"]["one"], seen["load"]["cpus"]))
    if seen.get("clock"):
        parts.append("clock %+.2f±%.2f s" % (seen["clock"]["offset"], seen["clock"]["uncertainty"]))
    parts.append("engine %s" % clean(seen["engine"].get("version") or "?", 12) if seen["engine"]["ok"] else "engine NOT answering")
    parts.append(plural(len(seen["components"]), "component"))
    return "  ".join(parts)


def worst(findings):
    """The worst word of some findings, HEALTHY when there is none."""
    return min((one["word"] for one in findings), key=WORDS.index) if findings else "HEALTHY"


def headline(words, reasons):
    """The denominator: 7/8 HEALTHY, 1 UNKNOWN (host-d).

    Args:
        words: {host: its word}. reasons: {host: why it is UNKNOWN}, used when there is room: nothing else is wrong.
    """
    healthy = len([w for w in words.values() if w == "HEALTHY"])
    parts = ["%d/%d HEALTHY" % (healthy, len(words))]
    for word in WORDS:
        names = sorted(host for host, w in words.items() if w == word)
        if names:
            parts.append("%d %s (%s)" % (len(names), word, ", ".join(names)))
    if len(parts) == 2 and reasons:
        parts[1] = "%s: %s)" % (parts[1][:-1], next(iter(reasons.values())))
    return clean(", ".join(parts), 80)


def report(results, limits, limited="", room=18, clock=time.time):
    """The verb's report.

    Args:
        results: {host: what observe returned, or a str that says why there is nothing}.
        limits: LIMITS, or those of the inventory.
        limited: the --limit that was given: the report says that it did not look everywhere.
        room: how many lines the summary may have: with the head line and the next commands it fits into 24.
        clock: Unix time in seconds.

    Returns:
        dict andon.report/1.
    """
    now = clock()
    hosts = {host: seen for host, seen in results.items() if not isinstance(seen, str)}
    found = [finding("UNKNOWN", host, "", why) for host, why in results.items() if isinstance(why, str)]
    for host, seen in hosts.items():
        found += judge_host(host, seen, limits)
    skews = skew(hosts)
    found = sorted(found + skews, key=rank)
    words = {host: worst([one for one in found if one["host"] == host]) for host in results}
    reasons = {one["host"]: one["words"] for one in reversed(found) if one["word"] == "UNKNOWN" and not one["component"]}
    skewed = {(one["host"], one["component"]) for one in skews}
    every = [(host, one) for host in hosts for one in hosts[host]["components"]]
    order = {}
    for index, one in enumerate(found):
        order.setdefault((one["host"], one["component"]), index)
    every.sort(key=lambda pair: (order.get((pair[0], label(pair[1])), len(found)), pair[0], label(pair[1])))
    table = [row(host, one, (host, label(one)) in skewed) for host, one in every]
    lines = [finding_line(one) for one in found]
    notes = ["Only the hosts of --limit %s were looked at." % clean(limited, 36)] if limited else []
    summary = notes + share(lines, table, room - len(notes))
    return {
        "schema": "andon.report/1",
        "verb": "health_check",
        "ok": bool(results) and not found,
        "headline": headline(words, reasons) if results else "UNKNOWN: no host was looked at",
        "summary": summary,
        "detail": [],
        "data": {
            "hosts": {h: s if not isinstance(s, str) else {"unreachable": s} for h, s in results.items()},
            "words": words,
            "findings": found,
            "limits": limits,
            "error_rate": point(now, [one.get("errors_now") for _, one in every]),
            "memory": point(now, [one.get("memory") for _, one in every]),
        },
        "next": steps(found, every),
    }


def finding_line(one):
    where = one["host"] + (" " + one["component"] if one["component"] else "")
    return "%-8s%s" % (one["word"], clean("%s: %s" % (where, one["words"]), 72))


def share(lines, table, room):
    """Findings and table in C(room) lines: at least half for the findings when there are many; what is left out is counted."""
    need = 1 + len(table) if table else 0
    top = keep(lines, max(room - need, room // 2), "more findings: andon health --json")
    rest = room - len(top)
    if not table or rest < 2:
        return top
    return top + [HEAD] + keep(table, rest - 1, "more components: andon health --json")


def keep(lines, count, words):
    if len(lines) <= count:
        return lines
    return lines[: count - 1] + ["… and %d %s" % (len(lines) - count + 1, words)]


def steps(found, every):
    """At most two next commands, for the worst that was found; none of them changes anything but the stop."""
    if not found:
        return []
    first = found[0]
    if first["word"] == "UNKNOWN" and not first["component"]:
        one = "andon status --limit %s   (is it halted? health could not look)" % clean(first["host"], 60)
    elif first["word"] == "HALTED":
        one = "andon status   (who halted it, why, what was running)"
    elif first["word"] == "SKEW":
        one = "andon triage   (which image came when)"
    else:
        one = "andon triage --since 30m   (what broke first, what changed; changes nothing)"
    return [one, "andon stop   (money at risk? stops every trading container on every host)"] if every or first["word"] == "UNKNOWN" else [one]


def counted(tail, is_error, created, now, window, before):
    """What C(rates) needs of a log that was read, on the host.

    Args:
        tail: tail.Tail. is_error: shapes.matcher's function. created: when the container was made (Unix time or None).
        now, window, before: see C(rates).

    Returns:
        dict: errors_now, errors_before, last_error, log_error, log_note.
    """
    stamps, last = [], ""
    for at, line in tail.lines:
        if at is not None and is_error(line):
            stamps.append(at)
            last = line
    result = rates(
        {"stamps": stamps, "first": tail.first, "complete": tail.complete, "since": created, "error": tail.error, "note": tail.note}, now, window, before
    )
    recent = bool(stamps) and stamps[-1] >= now - window
    return {
        "errors_now": result["now"],
        "errors_before": result["before"],
        "last_error": mask(clean(last, 120)) if recent else "",
        "log_error": clean(tail.error, 160),
        "log_note": clean(tail.note, 160),
    }


def seconds_since(stamp, now):
    """Seconds from an engine's time to C(now), both on the host's clock; None when the engine says never."""
    at = parse_utc(stamp)
    return None if at is None else now - at
