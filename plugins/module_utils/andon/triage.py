"""What changed, what broke first, where, and which command is safe now. Pure: it reads nothing. Used on the bastion."""

from __future__ import annotations

import re

from .curves import error_rate
from .report import make
from .shapes import spark
from .skew import compare
from .skew import lines as skew_lines
from .state import parse_utc, utc
from .text import clean, duration, plural, size, valid_name

LONGEST = 7 * 86400.0
SHORTEST = 60.0
RISING = 6.0  # the score of shapes.change from which a rate has changed
LETTERS = {"commit": "c", "image": "i", "container": "n", "start": "s", "end": "e", "engine": "e", "config": "f", "package": "p", "login": "l", "oom": "o"}
LEGEND = "c commit, i image, n new container, s start, e end, f config file, p package, l login, o out of memory"
# What may have caused a break; a start or an end is often its consequence, and a login is nobody's fault by itself.
CAUSES = ("commit", "image", "container", "config", "package", "oom")
# What came with a deploy, so that a rollback may be the answer.
DEPLOYED = ("commit", "image", "container", "config")
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d)")
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def parse_since(text, now):
    """How many seconds a window has.

    Args:
        text: how far back (C(30m), C(1h30m), C(2d)) or when (C(2026-11-22T03:00Z)). now: Unix time on the bastion.

    Returns:
        float, seconds.

    Raises:
        ValueError: neither, in the future, shorter than a minute or longer than seven days. C(str()) is for a person.
    """
    words = str(text).strip()
    shown = clean(words, 40)
    if words and not _PART.sub("", words).strip():
        seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(words))
    elif re.match(r"\d{4}-\d\d-\d\d", words):
        if not re.search(r"(?:[Zz]|[+-]\d\d:\d\d)\Z", words):
            raise ValueError("--since '%s' names no time zone: end it with Z for UTC, as in 2026-11-22T03:00:00Z" % shown)
        at = parse_utc(words.replace(" ", "T"))
        if at is None:
            raise ValueError("--since '%s' is no time: write it as 2026-11-22T03:00:00Z" % shown)
        seconds = now - at
        if seconds < 0:
            raise ValueError("--since '%s' lies %s in the future (it is %s now)" % (shown, duration(-seconds), utc(now)[:19] + "Z"))
    else:
        raise ValueError("--since '%s' is not understood: write how far back (30m, 2h, 1d) or a time in UTC (2026-11-22T03:00:00Z)" % shown)
    if seconds < SHORTEST:
        raise ValueError("--since '%s' is less than a minute ago: there is nothing to compare" % shown)
    if seconds > LONGEST:
        raise ValueError("--since '%s' is more than 7 days ago: triage looks at what is wrong now; for older logs type: andon logs" % shown)
    return seconds


def shift_of(clock):
    """Seconds to take from a host's times. A clock that may be right is taken to be right."""
    return clock["offset"] if clock and (clock["low"] > 0 or clock["high"] < 0) else 0.0


def _moved(value, shift):
    return None if value is None else value - shift


def sources_of(errors):
    """All sources of all hosts, in the bastion's time, the one that changed most first.

    Args:
        errors: {host: what read_errors returned, or a str that says why there is nothing}.
    """
    found = []
    for host, seen in errors.items():
        if isinstance(seen, str):
            continue
        shift = shift_of(seen.get("clock"))
        for one in seen["sources"]:
            moved = dict(one, host=host, first=_moved(one["first"], shift), last=_moved(one["last"], shift), gap=_moved(one["gap"], shift))
            moved["change"] = dict(one["change"], at=_moved(one["change"]["at"], shift))
            found.append(moved)
    return sorted(found, key=lambda one: (-one["change"]["score"], -one["count"], one["host"], one["name"]))


def events_of(surroundings):
    """All changes of all hosts, in the bastion's time, oldest first."""
    found = []
    for host, seen in surroundings.items():
        if not isinstance(seen, str):
            shift = shift_of(seen.get("clock"))
            # A commit's time comes from whoever committed, not from this host.
            for one in seen["events"]:
                moved = dict(one, host=host, at=one["at"] - (0.0 if one["kind"] == "commit" else shift))
                if "until" in one:
                    moved["until"] = one["until"] - shift
                found.append(moved)
    return sorted(found, key=lambda one: one["at"])


def broke(sources):
    """The sources whose errors rose, the earliest first."""
    rose = [one for one in sources if one["change"]["score"] >= RISING and one["change"]["at"] is not None]
    return sorted(rose, key=lambda one: one["change"]["at"])


def clock_doubt(errors):
    """{host: seconds by which its times may be off against the others'}."""
    doubt = {}
    for host, seen in errors.items():
        clock = None if isinstance(seen, str) else seen.get("clock")
        doubt[host] = clock["uncertainty"] + (abs(clock["offset"]) if shift_of(clock) == 0 else 0) if clock else 0.0
    return doubt


def together(first, others, doubt):
    """Those of C(others) that may have broken before C(first), for all that the clocks can say."""
    return [
        one
        for one in others
        if one is not first and one["host"] != first["host"] and one["change"]["at"] - first["change"]["at"] <= doubt[one["host"]] + doubt[first["host"]]
    ]


def suspects(events, at, window, count=3):
    """The changes that may have caused what broke at C(at): the last ones before it, newest first. One second of grace: the
    times of commits, files and packages are whole seconds."""
    return [one for one in reversed(events) if one["kind"] in CAUSES and at - 2 * window <= one["at"] <= at + 1][:count]


def marked(word, words, width=80):
    """A line that starts with a word in a column of its own."""
    return "%-9s%s" % (word, clean(words, width - 9))


def again(one):
    """How often a folded event came."""
    return " (%d times until %s)" % (one["times"], at_words(one["until"])) if one.get("times", 1) > 1 else ""


def at_words(at):
    return utc(at)[11:19] if at is not None else "?"


def rate(value):
    if value is None:
        return "?"
    return "0" if value == 0 else ("%.1f" % value if value < 9.95 else "%d" % round(value))


def source_name(one):
    return clean(one["name"].rpartition("/")[2] if one["kind"] == "file" else one["name"], 40)


def pad(words, width):
    return clean(words, width).ljust(width)


TABLE = "%s %s %6s %13s %8s" % ("host".ljust(9), "component or file".ljust(18), "errors", "per min", "since")


def table(sources, count):
    """The sources with errors, the one that changed most first."""
    rows = []
    for one in [s for s in sources if s["count"]][:count]:
        change = one["change"]
        since = at_words(change["at"]) if abs(change["score"]) >= RISING else "steady"
        rates = "%s -> %s" % (rate(change["before"]), rate(change["after"]))
        rows.append(("%s %s %6d %13s %8s  %s" % (pad(one["host"], 9), pad(source_name(one), 18), one["count"], rates, since, spark(one["buckets"], 20)))[:80])
    return rows


def messages(sources, count):
    """The commonest shapes over all sources, those of what rose first."""
    shapes = {}
    for index, one in enumerate(sources):
        for item in one["shapes"]:
            entry = shapes.setdefault(item["shape"], {"count": 0, "rank": index})
            entry["count"] += item["count"]
    ordered = sorted(shapes.items(), key=lambda pair: (pair[1]["rank"], -pair[1]["count"], pair[0]))
    return ["%7d x %s" % (entry["count"], clean(words, 70)) for words, entry in ordered[:count]]


def axis(sources, events, start, end, rows=6):
    """Errors and changes in sixty columns of one time axis, and what the columns mean."""
    lines = ["Time axis, %s to %s UTC, one column = %s" % (utc(start)[:19].replace("T", " "), utc(end)[11:19], duration((end - start) / 60))]
    for one in [s for s in sources if s["count"]][:rows]:
        lines.append("%s|%s|" % (pad("%s %s" % (one["host"], source_name(one)), 17), spark(one["buckets"])))
    hosts = sorted({one["host"] for one in events})[:rows]
    for host in hosts:
        columns = [" "] * 60
        for one in events:
            index = int((one["at"] - start) * 60 / (end - start))
            if one["host"] == host and 0 <= index < 60 and columns[index] not in "o":
                columns[index] = LETTERS.get(one["kind"], "?")
        if any(c != " " for c in columns):
            lines.append("%s|%s|" % (pad("%s changes" % host, 17), "".join(columns)))
    return lines + ["  (%s)" % LEGEND]


def listing(events, sources, start, count=18):
    """Changes and breaks as one list, oldest first: those around the first break, else the newest."""
    found = [(one["at"], one["kind"], "%s %s: %s%s" % (one["host"], one["where"], one["words"], again(one))) for one in events if one["at"] >= start]
    found += [
        (one["change"]["at"], "ERRORS", "%s %s: errors rise to %s/min" % (one["host"], source_name(one), rate(one["change"]["after"])))
        for one in broke(sources)
    ]
    found.sort(key=lambda entry: entry[0])
    rose = broke(sources)
    before = len([1 for entry in found if entry[0] <= rose[0]["change"]["at"] + 1]) if rose else len(found)
    # Two thirds before it (what may have caused it), one third after it (what followed); each side lends what it does not need.
    low = max(min(before - count * 2 // 3, len(found) - count), 0)
    lines = ["%s  %-9s %s" % (utc(at)[:19].replace("T", " "), kind, clean(words, 120)) for at, kind, words in found[low : low + count]]
    if low:
        lines.insert(0, "… and %d earlier (andon triage --json)" % low)
    if len(found) > low + count:
        lines.append("… and %d later (andon triage --json)" % (len(found) - low - count))
    old = [one for one in events if one["kind"] == "commit" and one["at"] < start]
    for host in sorted({one["host"] for one in old}):
        newest = max((one for one in old if one["host"] == host), key=lambda one: one["at"])
        if not any(one["kind"] == "commit" and one["host"] == host and one["at"] >= start for one in events):
            lines.append("%s  last commit %s: %s" % (utc(newest["at"])[:19].replace("T", " "), host, clean(newest["words"], 100)))
    return lines


def external(surroundings):
    """(one line that says it all, lines for each failure, the failures)."""
    tried, failed = 0, []
    for host, seen in surroundings.items():
        if not isinstance(seen, str):
            tried += len(seen["endpoints"])
            failed += [dict(one, host=host) for one in seen["endpoints"] if not one["ok"]]
    if not tried:
        return "EXTERNAL not looked at: no andon_endpoints in the inventory", [], []
    lines = [marked("FAILED", "%s from %s: %s %s" % (one["name"], one["host"], one["layer"], one["words"])) for one in failed]
    return "EXTERNAL %d/%d endpoints answer, seen from the hosts" % (tried - len(failed), tried), lines, failed


def skew_of(running, allowed, ignored):
    """(differences between hosts that nobody allowed, UNKNOWN lines of hosts whose running set could not be read).

    Args:
        running: {host: what release_state returned, or a str that says why there is nothing}.
        allowed, ignored: as in skew.compare.
    """
    states = {host: seen["state"]["services"] for host, seen in running.items() if not isinstance(seen, str)}
    unread = ["%s: what it runs: %s" % (host, seen) for host, seen in running.items() if isinstance(seen, str)]
    return [one for one in compare(states, allowed, ignored) if not one["allowed"]], unread


def skew_words(differences):
    """One line: how many, who is odd, and the first of them by name."""
    odd = sorted({host for one in differences for host in one["odd"]})
    return "%s, odd: %s; %s (below)" % (plural(len(differences), "difference"), clean(", ".join(odd), 30), differences[0]["id"])


def metric_lines(metrics, count):
    """One line for each series: name, before -> after, sparkline."""
    lines = []
    for one in metrics:
        if one.get("error"):
            lines.append(marked("UNKNOWN", "metric %s: %s" % (one["name"], one["error"]), 100))
            continue
        if not one["series"]:
            lines.append(clean("metric %s: no series in this window" % one["name"], 80))
        for series in one["series"]:
            numbers = series["summary"]
            name = clean("%s %s" % (one["name"], series["labels"]), 34)
            lines.append(
                "%-34s %s -> %s%s  |%s|" % (name, short(numbers["before"]), short(numbers["after"]), clean(one.get("unit", ""), 8), spark(series["values"], 30))
            )
    return lines[:count] + (["… and %d more series (andon triage --json)" % (len(lines) - count)] if len(lines) > count else [])


def short(value):
    """A metric's number in a few characters."""
    if value is None:
        return "?"
    return "%.4g" % value if abs(value) < 1e6 else "%.3g" % value


def unknown(errors, surroundings, metrics, asked, unread=()):
    """What was not seen: each is a reason for an exit code other than 0.

    Args:
        unread: lines of skew_of; a host that said nothing at all has its line already.
        asked: when the window starts, Unix time on the bastion; a log that was not read back to it was not looked at as asked.
    """
    lines = []
    for host in errors:
        for seen, what in ((errors[host], ""), (surroundings.get(host, "nothing was heard of it"), "its changes: ")):
            if isinstance(seen, str):
                lines.append("%s: %s%s" % (host, what, seen))
                break
        if isinstance(errors[host], str):
            continue
        seen = errors[host]
        if seen["engine_error"]:
            lines.append("%s: containers' logs: %s" % (host, seen["engine_error"]))
        for one in seen["sources"]:
            gap = _moved(one["gap"], shift_of(seen.get("clock")))
            if one["error"]:
                lines.append("%s %s: %s" % (host, one["name"], one["error"]))
            elif gap is not None and gap > asked:
                lines.append("%s %s: read only from %s on, there was too much to read" % (host, source_name(one), at_words(gap)))
    silent = tuple("%s: " % host for host in errors if isinstance(errors[host], str))
    lines += [one for one in unread if not one.startswith(silent)]
    lines += ["metric %s: %s" % (one["name"], one["error"]) for one in metrics if one.get("error")]
    return [marked("UNKNOWN", line) for line in lines]


def notes_of(errors, surroundings):
    """What is less than it seems: gaps, logs that keep nothing, what a host does not know."""
    lines = []
    for host, seen in errors.items():
        if isinstance(seen, str):
            continue
        shift = shift_of(seen.get("clock"))
        if shift:
            lines.append("%s: its clock is off by %+.2f s; its times are corrected here" % (host, shift))
        for one in seen["sources"]:
            if one["gap"] is not None:
                lines.append("%s %s: looked at only from %s on (the newest %s)" % (host, one["name"], utc(one["gap"] - shift)[:19] + "Z", size(one["bytes"])))
            if one["note"]:
                lines.append("%s %s: %s" % (host, one["name"], one["note"]))
            if one["undated"]:
                lines.append("%s %s: %s without a time in it" % (host, one["name"], plural(one["undated"], "error line")))
        if seen["files_left_out"]:
            lines.append("%s: %d more log files match and were left out" % (host, seen["files_left_out"]))
    for host, seen in surroundings.items():
        if not isinstance(seen, str):
            lines += ["%s: %s" % (host, note) for note in seen["notes"]]
    return [clean(line, 140) for line in lines]


def symptom(first, causes, failed, events, skewed):
    """What it looks like: skew, memory, external, change, errors or nothing. Hosts that trade with different code come first."""
    if skewed:
        return "skew"
    if any(one["kind"] == "oom" or "killed for memory" in one["words"] for one in events):
        return "memory"
    if failed:
        return "external"
    if first and any(one["kind"] in DEPLOYED for one in causes):
        return "change"
    return "errors" if first else "nothing"


def steps(kind, first, missing, since):
    """The next safe commands for a symptom; each says what it will NOT do."""
    name = first["name"] if first and first["kind"] == "container" and valid_name(first["name"]) else None
    plan = "andon restart %s --check   (shows the plan; will NOT restart anything)" % name if name else None
    by_kind = {
        "skew": [
            "andon skew   (host by host, what differs; will NOT change anything)",
            "andon rollback --check   (shows what a rollback would change; will NOT change a container or an order)",
        ],
        "memory": ["andon leaks --for 2m   (measures memory; will NOT kill or limit anything)", plan],
        "external": ["andon health --watch   (shows when it recovers; will NOT restart or reconnect anything)", plan],
        "change": ["andon rollback --check   (shows what a rollback would change; will NOT change a container or an order)", plan],
        "errors": [plan or "andon health   (looks at every component; will NOT change anything)"],
        "nothing": ["andon triage --since 6h   (looks further back; will NOT change anything)"],
    }
    lines = [one for one in by_kind[kind] if one]
    if kind != "nothing":
        lines.append("andon logs --since %s   (collects the evidence, redacted; will NOT stop or change a component)" % clean(since, 30).replace(" ", "T"))
    if missing or kind != "nothing":
        lines.append("andon stop   (money at risk: stops all trading, cancels open orders; will NOT close positions)")
    return lines


def report(errors, surroundings, running, metrics, now, window, since, limited="", allowed=(), ignored=("HOSTNAME",)):
    """The verb's report.

    Args:
        errors, surroundings, running: {host: what read_errors, read_surroundings and release_state returned, or a str that says why there is nothing}.
        allowed, ignored: differences that are meant to be, as in skew.compare.
        metrics: dicts {name, unit, error, series: [{labels, values, summary}]}.
        now: Unix time on the bastion. window: seconds. since: what the person typed. limited: the --limit that was given.

    Returns:
        dict andon.report/1. C(ok): everything could be looked at; what was found does not make it false.
    """
    sources, events = sources_of(errors), events_of(surroundings)
    rose, start = broke(sources), now - 2 * window
    first = rose[0] if rose else None
    causes = suspects(events, first["change"]["at"], window) if first else []
    recent = [one for one in events if one["at"] >= start]
    external_line, failures, failed = external(surroundings)
    differences, unread = skew_of(running, allowed, ignored)
    missing = unknown(errors, surroundings, metrics, now - window, unread)
    total = sum(one["count"] for one in sources)
    kind = symptom(first, causes, failed, recent, differences)
    looked = len([1 for seen in errors.values() if not isinstance(seen, str)])
    where = "%d/%s" % (looked, plural(len(errors), "host"))

    if first:
        head = "BROKE FIRST %s %s %s: %s -> %s errors/min" % (
            utc(first["change"]["at"])[:19] + "Z",
            first["host"],
            source_name(first),
            rate(first["change"]["before"]),
            rate(first["change"]["after"]),
        )
    elif differences:
        head = clean("SKEW: hosts run different things (%s); no error rate rose" % plural(len(differences), "difference"), 80)
    elif failed:
        head = "NOT REACHABLE: %s (%s) from %s; no error rate rose" % (failed[0]["name"], failed[0]["layer"], failed[0]["host"])
    elif missing:
        head = "UNKNOWN: no rise seen on %s, and not everything could be looked at" % where
    elif total:
        head = "Nothing rose: %s, at a steady rate, on %s" % (plural(total, "error line"), where)
    else:
        head = "Nothing found: no error line on %s" % where

    summary = ["%s to %s UTC (%s, compared with as long before)" % (utc(now - window)[:19].replace("T", " "), utc(now)[11:19], duration(window))]
    if limited:
        summary.append("Only the hosts of --limit %s were looked at." % clean(limited, 36))
    summary += missing[:3] + (["… and %d more UNKNOWN (andon triage --json)" % (len(missing) - 3)] if len(missing) > 3 else [])
    if first:
        also = together(first, rose, clock_doubt(errors))
        if also:
            names = ", ".join("%s %s" % (one["host"], source_name(one)) for one in also)
            summary.append(marked("", "at the same time, as far as the clocks can say: %s" % names))
        if causes:
            summary += [marked("CHANGED", "%s %s %s %s: %s" % (at_words(c["at"]), c["host"], c["kind"], c["where"], c["words"])) for c in causes]
        else:
            summary.append("CHANGED  nothing that is known, in %s before it" % duration(2 * window))
    else:
        count = len([one for one in recent if one["kind"] in CAUSES])
        summary.append("CHANGED  %s in %s (below)" % (plural(count, "thing") if count else "nothing that is known", duration(2 * window)))
    if differences:
        summary.append(marked("SKEW", skew_words(differences)))
    elif not unread and len(running) > 1:
        summary.append("SKEW     none: %s run the same" % plural(len(running), "host"))
    summary += [external_line] + failures[:3]
    rows = table(sources, 5)
    if rows:
        summary += [TABLE] + rows
    summary += messages(sources, 3)
    measured = [one for one in metrics if not one.get("error")]
    if measured:
        summary.append("METRICS  %s (below)" % "%d series" % sum(len(one["series"]) for one in measured))
    notes = notes_of(errors, surroundings)
    detail = skew_lines(differences[:6])
    if len(differences) > 6:
        detail.append("… and %d more differences (andon skew)" % (len(differences) - 6))
    detail += axis(sources, recent, start, now) + listing(events, sources, start) + metric_lines(metrics, 10)
    if notes:
        detail += ["Known only in part:"] + ["  " + note for note in notes[:8]] + (["  … and %d more (--json)" % (len(notes) - 8)] if len(notes) > 8 else [])
    data = {
        "window": {"start": utc(now - window), "end": utc(now), "compared_from": utc(start)},
        "symptom": kind,
        "broke_first": first,
        "causes": causes,
        "skew": differences,
        "sources": sources,
        "error_rate": error_rate(sources, start, now),
        "events": events,
        "endpoints": {host: seen["endpoints"] for host, seen in surroundings.items() if not isinstance(seen, str)},
        "metrics": metrics,
        "unknown": missing,
        "notes": notes,
    }
    return make("triage", bool(errors) and not missing, head, summary, detail, data, steps(kind, first, missing, since))
